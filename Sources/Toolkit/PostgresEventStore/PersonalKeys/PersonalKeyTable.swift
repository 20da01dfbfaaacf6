internal import Postgres

/// The table with the keys of all persons, each of 32 bytes.
package protocol PersonalKeyTable: Sendable {
  /// Adds a key of a person, unless one was added before.
  /// - Returns: the person's key; nil if it was erased.
  func add(_ key: [UInt8], of person: String) async throws -> [UInt8]?

  /// Removes a key, unless a stream exists.
  func discard(of person: String, events stream: String) async throws

  /// Returns the keys of those persons that have one.
  func keys(of persons: [String]) async throws -> [String: [UInt8]]
}

struct PostgresPersonalKeys: PersonalKeyTable {
  private let pool: PostgresPool

  init(_ writeStore: PostgresPool) { pool = writeStore }

  func add(_ key: [UInt8], of person: String) async throws -> [UInt8]? {
    let rows = try await pool.query(
      """
      with made as (
        insert into personal.keys (person, key) values (\(person), \(PostgresBytes(key))) on conflict do nothing returning key)
      select key from made union all select key from personal.keys where person = \(person)
      """
    ).decode(PostgresBytes?.self)
    // Another statement has just made the key, and this one did not see it.
    guard let first = rows.first else { return try await keys(of: [person])[person] }
    return first?.bytes
  }

  func discard(of person: String, events stream: String) async throws {
    try await pool.query("select personal.discard_key(\(person), \(stream))")
  }

  func keys(of persons: [String]) async throws -> [String: [UInt8]] {
    let rows = try await pool.query(
      "select person, key from personal.keys where person = any(\(array: persons)) and key is not null"
    ).decode((String, PostgresBytes).self)
    return Dictionary(uniqueKeysWithValues: rows.map { ($0.0, $0.1.bytes) })
  }
}
