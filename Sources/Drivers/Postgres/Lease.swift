public import FoundationEssentials

/// A role that one process at a time holds, by a row with an expiry on the database's clock.
///
/// A holder that cannot renew in time must stop acting: it asks `isHeld` before each step, which by
/// its own monotonic clock turns false before the database lets another in.
public actor Lease {
  private let pool: PostgresPool
  private let table: String
  private let name: String
  private let duration: Duration
  public nonisolated let holder = UUID()
  private var heldUntil: ContinuousClock.Instant?

  /// - Parameters:
  ///   - table: a table with the columns name, holder and expires_at.
  ///   - duration: how long the lease lives without renewal: how soon a successor may take over.
  public init(_ pool: PostgresPool, table: String, name: String, duration: Duration) {
    self.pool = pool
    self.table = table
    self.name = name
    self.duration = duration
  }

  public var isHeld: Bool { heldUntil.map { ContinuousClock.now < $0 } ?? false }

  /// Takes or renews the lease.
  /// - Returns: false while another holds it.
  public func acquire() async throws -> Bool {
    // Counted from before the request was sent, so that our view ends before the database's.
    let asked = ContinuousClock.now
    let seconds = Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
    let rows = try await pool.query(
      """
      insert into \(unescaped: table) as l (name, holder, expires_at)
      values (\(name), \(holder), clock_timestamp() + make_interval(secs => \(seconds)))
      on conflict (name) do update set holder = excluded.holder, expires_at = excluded.expires_at
      where l.holder = excluded.holder or l.expires_at < clock_timestamp()
      returning 1
      """)
    heldUntil = rows.isEmpty ? nil : asked + duration
    return !rows.isEmpty
  }

  /// Gives the lease up, so that a successor need not wait.
  public func release() async {
    guard heldUntil != nil else { return }
    heldUntil = nil
    _ = try? await pool.query("delete from \(unescaped: table) where name = \(name) and holder = \(holder)")
  }
}
