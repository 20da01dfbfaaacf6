internal import EventSourcing
internal import FoundationEssentials
internal import Logging
internal import Machine
internal import Metrics
internal import Postgres

/// This process among all that run projections: a row in the read store that it renews. When the row expires, the
/// worker loses its assignments to the others.
struct Worker: Sendable {
  let id = Machine.uuid()
  /// Host and process id, for people.
  let name: String
  let leaseDuration: Duration
  let pool: PostgresPool

  /// Renews the row. The timeout leaves time to try another connection if this one hangs.
  /// - Parameter services: what this process runs now, in the form of `Generation.service`. The worker counts for a
  ///   share of each.
  func renew(running services: [String]) async throws {
    let seconds = Double(leaseDuration.components.seconds) + Double(leaseDuration.components.attoseconds) * 1e-18
    try await pool.query(
      """
      insert into projections.workers as w (id, name, serves, expires_at)
      values (\(id), \(name), \(array: services), clock_timestamp() + make_interval(secs => \(seconds)))
      on conflict (id) do update set expires_at = excluded.expires_at, serves = excluded.serves
      """, timeout: leaseDuration / 3)
    try await pool.query("delete from projections.workers where expires_at < clock_timestamp() - interval '1 hour'")
  }

  func leave() async {
    _ = try? await pool.query("delete from projections.workers where id = \(id)")
  }

  /// Returns the number of assignments without a living owner, by projection.
  func unowned() async throws -> [String: Int] {
    let rows = try await pool.query(
      """
      select c.projection, count(*) from projections.checkpoints c
      join projections.generations g on g.projection = c.projection and g.generation = c.generation
      where g.state in ('serving', 'building') and not exists (
        select from projections.workers w where w.id = c.owner and w.expires_at > clock_timestamp())
      group by c.projection
      """
    ).decode((String, Int).self)
    return Dictionary(uniqueKeysWithValues: rows.map { ($0.0, $0.1) })
  }
}
