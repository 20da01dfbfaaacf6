internal import EventSourcing
internal import FoundationEssentials
package import Postgres

/// The schema of the log of erasures. It is in the read store, because the write store may be restored to a time before an
/// erasure.
package let erasureLogSchema = Schema(
  name: "erasures",
  migrations: [
    Migration(
      version: 1, name: "erasure log", sql: String(decoding: PackageResources.v0001_erasure_log_sql, as: UTF8.self))
  ],
  afterwards: [String(decoding: PackageResources.erasure_log_privileges_sql, as: UTF8.self)])

/// The log of erasures, outside the write store. Several processes may copy to it at once.
package struct ErasureLog: Sendable {
  private static let pageSize = 500

  private let pool: PostgresPool

  /// - Parameter readStore: a pool on the read store.
  package init(_ readStore: PostgresPool) { pool = readStore }

  /// Copies the erasures that are not in the log yet.
  /// - Returns: how many were copied.
  package func copy(from writeStore: Erasures) async throws -> Int {
    let history = try await writeStore.historyID()
    // Of this history alone: in another one, positions may be lower, and all erasures are copied again.
    let last = try await pool.query(
      """
      select position, person from erasures.log where history_id = \(history)
      order by position desc, person desc limit 1
      """
    ).decode((Int64, String).self).first
    var (place, count) = (last.map { ErasurePlace(position: $0.0, person: $0.1) } ?? .start, 0)
    while true {
      let page = try await writeStore.page(after: place)
      guard let end = page.last else { return count }
      try await add(page.map(\.erasure), page.map(\.place.position), in: history)
      (place, count) = (end.place, count + page.count)
    }
  }

  /// Adds erasures of which the write store may know nothing, such as those in a file.
  /// - Returns: how many are new.
  package func add(_ erasures: [Erasure]) async throws -> Int {
    try await add(erasures, erasures.map { _ in nil }, in: nil)
  }

  @discardableResult
  private func add(_ erasures: [Erasure], _ positions: [Int64?], in history: UUID?) async throws -> Int {
    let events = erasures.map(\.event)
    // An event stays known, and so does the first time.
    let rows = try await pool.query(
      """
      insert into erasures.log as l (person, erased_at, history_id, position, stream, schema_version, data, metadata)
      select u.person, u.at, \(optional: history), u.position, u.stream, u.schema_version, u.data, u.metadata
      from unnest(
        \(array: erasures.map(\.person)), \(array: erasures.map { PostgresTimestamp($0.erasedAt) }), \(array: positions),
        \(array: events.map { $0?.stream.rawValue }), \(array: events.map { ($0?.schemaVersion).map { Int32($0) } }),
        \(array: events.map { $0?.data }), \(array: events.map { $0?.metadata })
      ) as u(person, at, position, stream, schema_version, data, metadata)
      on conflict (person) do update set erased_at = least(l.erased_at, excluded.erased_at),
        history_id = coalesce(excluded.history_id, l.history_id), position = coalesce(excluded.position, l.position),
        stream = coalesce(excluded.stream, l.stream),
        schema_version = coalesce(excluded.schema_version, l.schema_version),
        data = coalesce(excluded.data, l.data), metadata = coalesce(excluded.metadata, l.metadata)
      returning xmax = 0
      """
    ).decode(Bool.self)
    return rows.count { $0 }
  }

  /// The number of persons in the log.
  package func count() async throws -> Int { try await pool.query("select count(*) from erasures.log").value(Int.self) }

  /// Returns the next erasures after a person, in the order of their ids; none at the end.
  package func page(after person: String) async throws -> [Erasure] {
    try await pool.query(
      """
      select person, erased_at, stream, schema_version, data, metadata from erasures.log
      where person > \(person) order by person limit \(Self.pageSize)
      """
    ).decode(Erasure.Row.self).map { Erasure($0) }
  }

  /// Returns the erasures that the write store does not have, such as those that a restore has undone.
  package func missing(in writeStore: Erasures) async throws -> [Erasure] {
    var (all, last) = ([Erasure](), "")
    while true {
      let page = try await page(after: last)
      guard let end = page.last else { return all }
      let missing = Set(try await writeStore.missing(of: page.map(\.person)))
      all += page.filter { missing.contains($0.person) }
      last = end.person
    }
  }
}
