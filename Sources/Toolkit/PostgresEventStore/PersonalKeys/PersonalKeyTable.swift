package import FoundationEssentials
internal import Postgres

/// A key of a person, as `PersonalKeys` stores it.
package struct StoredPersonalKey: Sendable {
  package let bytes: [UInt8]
  /// The history of the store that had it.
  package let historyID: UUID

  package init(bytes: [UInt8], historyID: UUID) {
    self.bytes = bytes
    self.historyID = historyID
  }
}

/// The table with the keys of all persons.
package protocol PersonalKeyTable: Sendable {
  /// Adds a key of a person, unless one was added before.
  /// - Returns: the person's key; nil if it was erased.
  func add(_ key: [UInt8], of person: String) async throws -> StoredPersonalKey?

  /// Removes a key, unless a stream exists.
  func discard(of person: String, events stream: String) async throws

  /// Returns the keys of those persons that have one.
  func keys(of persons: [String]) async throws -> [String: StoredPersonalKey]
}

struct PostgresPersonalKeys: PersonalKeyTable {
  private let pool: PostgresPool

  init(_ writeStore: PostgresPool) { pool = writeStore }

  func add(_ key: [UInt8], of person: String) async throws -> StoredPersonalKey? {
    let rows = try await pool.query(
      """
      with made as (
        insert into personal.keys (person, key) values (\(person), \(PostgresBytes(key))) on conflict do nothing returning key)
      select k.key, i.history_id
      from event_store.identity i,
        (select key from made union all select key from personal.keys where person = \(person)) k
      """
    ).decode((PostgresBytes?, UUID).self)
    // Another statement has just made the key, and this one did not see it.
    guard let first = rows.first else { return try await keys(of: [person])[person] }
    return first.0.map { StoredPersonalKey(bytes: $0.bytes, historyID: first.1) }
  }

  func discard(of person: String, events stream: String) async throws {
    try await pool.query("select personal.discard_key(\(person), \(stream))")
  }

  func keys(of persons: [String]) async throws -> [String: StoredPersonalKey] {
    let rows = try await pool.query(
      """
      select k.person, k.key, i.history_id from personal.keys k, event_store.identity i
      where k.person = any(\(array: persons)) and k.key is not null
      """
    ).decode((String, PostgresBytes, UUID).self)
    return Dictionary(
      uniqueKeysWithValues: rows.map { ($0.0, StoredPersonalKey(bytes: $0.1.bytes, historyID: $0.2)) })
  }
}
