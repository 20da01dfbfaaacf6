internal import FoundationEssentials
package import Postgres

/// How the keys of persons are stored, from an operator's view.
package struct PersonalKeyCustody: Sendable {
  /// How many keys one key-encryption key wraps.
  package struct Count: Sendable, Hashable {
    /// The id of the key-encryption key; nil for keys that are stored as they are.
    package let id: String?
    package let keys: Int
  }

  /// Keys that are wrapped again in one transaction.
  private static let batchSize = 500
  /// SQL: the id of the key-encryption key; null if there is none.
  private static let wrappingID = """
    case when octet_length(key) > 32 then convert_from(substring(key from 3 for get_byte(key, 1)), 'UTF8') end
    """

  private let pool: PostgresPool

  /// - Parameter writeStore: a pool on the write store, as its owner.
  package init(_ writeStore: PostgresPool) { pool = writeStore }

  /// Counts the keys by the key-encryption key that wraps them, without those that were erased.
  package func counts() async throws -> [Count] {
    let rows = try await pool.query(
      """
      select \(unescaped: Self.wrappingID), count(*) from personal.keys where key is not null
      group by 1 order by 1 nulls first
      """
    ).decode((String?, Int).self)
    return rows.map { Count(id: $0.0, keys: $0.1) }
  }

  /// Wraps every key with the first of the key-encryption keys, batch by batch, while services run. It may be stopped at
  /// any time and repeated: keys that are wrapped already are left as they are. A key that is erased meanwhile stays
  /// erased.
  /// - Returns: how many keys were wrapped.
  /// - Throws: `UnreadablePersonalKey` for a key that cannot be unwrapped. The batches before it stay wrapped.
  package func rewrap(_ keys: KeyEncryptionKeys) async throws -> Int {
    var (count, last) = (0, "")
    while true {
      let rows = try await pool.query(
        """
        select person, key from personal.keys
        where key is not null and person > \(last)
          and \(unescaped: Self.wrappingID) is distinct from \(optional: keys.wrappingID)
        order by person limit \(Self.batchSize)
        """
      ).decode((String, PostgresBytes).self)
      guard let end = rows.last else { return count }
      let wrapped = try rows.map { person, stored in
        PostgresBytes(try keys.wrap(keys.unwrap(stored.bytes, of: person), of: person))
      }
      count += try await pool.query(
        """
        update personal.keys k set key = u.wrapped
        from unnest(\(array: rows.map(\.0)), \(array: rows.map(\.1)), \(array: wrapped)) as u(person, stored, wrapped)
        where k.person = u.person and k.key = u.stored
        """
      ).affectedRows
      last = end.0
    }
  }
}
