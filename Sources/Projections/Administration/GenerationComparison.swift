public import Postgres

/// How far two generations of a projection agree, though both may be moving.
public struct GenerationComparison: Sendable {
  public struct Table: Sendable {
    public let name: String
    public let rows: (old: Int, new: Int)
    /// Over all rows: equal where they are the same.
    public let checksums: (old: Int64, new: Int64)
    /// Keys of rows that differ, or that one of the two lacks.
    public let differences: [String]
    /// Rows that changed whenever they were looked at, so that nothing can be said of them.
    public let moving: Int
  }

  public let tables: [Table]
  public var isEqual: Bool { tables.allSatisfy { $0.differences.isEmpty } }

  private static let looks = 6
  private static let pause = Duration.milliseconds(300)

  /// Both are looked at several times: a row that differs in the same way every time is a difference.
  public static func compare(
    _ projection: AnyProjection, _ old: Generation, _ new: Generation, on pool: PostgresPool
  ) async throws -> GenerationComparison {
    var tables: [Table] = []
    for (name, contents) in zip(projection.tables, projection.contents) {
      // Where the code is another, other columns may be there: the documents count.
      let isWhole = old.version == new.version
      let (before, after) = (contents(old.table(name), isWhole), contents(new.table(name), isWhole))
      let look: Query = """
        select coalesce(o.k, n.k), md5(coalesce(o.c, '')) || md5(coalesce(n.c, ''))
        from (\(unescaped: before)) o full join (\(unescaped: after)) n on o.k = n.k where o.c is distinct from n.c
        """
      let differing = { () async throws -> [String: String] in
        let rows = try await pool.query(look, timeout: .seconds(600)).decode((String, String).self)
        return Dictionary(rows, uniquingKeysWith: { first, _ in first })
      }
      var suspects = try await differing()
      var moved: Set<String> = []
      for _ in 1..<looks where !suspects.isEmpty {
        try await Task.sleep(for: pause)
        let now = try await differing()
        moved = Set(suspects.keys.filter { now[$0] != nil && now[$0] != suspects[$0] }).union(
          moved.filter { now[$0] != nil })
        suspects = suspects.filter { now[$0.key] == $0.value }
      }
      let sums = try await pool.query(
        """
        select * from (select count(*), coalesce(bit_xor(hashtextextended(k || c, 0)), 0) from (\(unescaped: before)) t) o,
          (select count(*), coalesce(bit_xor(hashtextextended(k || c, 0)), 0) from (\(unescaped: after)) t) n
        """, timeout: .seconds(600)
      ).decode((Int, Int64, Int, Int64).self)[0]
      tables.append(
        Table(
          name: name, rows: (sums.0, sums.2), checksums: (sums.1, sums.3), differences: suspects.keys.sorted(),
          moving: moved.count))
    }
    return GenerationComparison(tables: tables)
  }
}
