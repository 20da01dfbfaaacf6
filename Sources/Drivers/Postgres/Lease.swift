public import FoundationEssentials
internal import Machine

/// Where leases are kept.
public protocol LeaseTable: Sendable {
  /// Takes or renews a lease; it expires after `duration` on the table's clock.
  /// - Returns: false while another process holds it.
  func take(_ name: String, for holder: UUID, _ duration: Duration) async throws -> Bool

  /// Removes a lease of this holder.
  func give(_ name: String, of holder: UUID) async throws
}

/// A table of leases in PostgreSQL.
public struct PostgresLeases: LeaseTable {
  private let pool: PostgresPool
  private let table: String

  /// - Parameter table: a table with the columns name, holder and expires_at.
  public init(_ pool: PostgresPool, table: String) { (self.pool, self.table) = (pool, table) }

  public func take(_ name: String, for holder: UUID, _ duration: Duration) async throws -> Bool {
    let rows = try await pool.query(
      """
      insert into \(unescaped: table) as l (name, holder, expires_at)
      values (\(name), \(holder), clock_timestamp() + make_interval(secs => \(duration / .seconds(1))))
      on conflict (name) do update set holder = excluded.holder, expires_at = excluded.expires_at
      where l.holder = excluded.holder or l.expires_at < clock_timestamp()
      returning 1
      """)
    return !rows.isEmpty
  }

  public func give(_ name: String, of holder: UUID) async throws {
    try await pool.query("delete from \(unescaped: table) where name = \(name) and holder = \(holder)")
  }
}

/// A role that one process at a time holds, by a row with an expiry on the database's clock.
///
/// A holder that cannot renew the lease in time must stop. It checks `isHeld` before each step. By the holder's
/// monotonic clock, `isHeld` turns false before the database gives the lease to another process.
public actor Lease {
  private let table: any LeaseTable
  private let name: String
  private let duration: Duration
  public nonisolated let holder = Machine.uuid()
  private var heldUntil: ContinuousClock.Instant?

  /// - Parameters:
  ///   - table: where the lease is kept.
  ///   - duration: how long the lease lives without renewal, and so how long a successor may have to wait.
  public init(_ table: any LeaseTable, name: String, duration: Duration) {
    self.table = table
    self.name = name
    self.duration = duration
  }

  public var isHeld: Bool { heldUntil.map { Machine.now < $0 } ?? false }

  /// Takes or renews the lease.
  /// - Returns: false while another process holds it.
  public func acquire() async throws -> Bool {
    // Counted from before the request, so that the lease ends here before it ends in the database.
    let asked = Machine.now
    let isHeld = try await table.take(name, for: holder, duration)
    heldUntil = isHeld ? asked + duration : nil
    return isHeld
  }

  /// Gives up the lease, so that a successor need not wait.
  public func release() async {
    guard heldUntil != nil else { return }
    heldUntil = nil
    try? await table.give(name, of: holder)
  }
}
