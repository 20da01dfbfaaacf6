internal import EventSourcing
internal import Machine
package import Postgres

/// How far two generations of a projection agree, even if both change meanwhile.
package struct GenerationComparison: Sendable {
  /// How far the two generations of one table agree.
  package struct Table: Sendable {
    /// The name of the table, without the number of the generation.
    package let name: String
    /// The number of rows of each generation.
    package let rows: (old: Int, new: Int)
    /// Over all rows; equal if the rows are equal.
    package let checksums: (old: Int64, new: Int64)
    /// Keys of rows that differ, or that only one generation has: the first ones, in order.
    package let differences: [String]
    /// The number of rows that changed at every look, so that they cannot be compared.
    package let moving: Int
  }

  /// The tables of the projection, including those of totals.
  package let tables: [Table]
  /// Whether no row differs and every row could be compared.
  package var isEqual: Bool { tables.allSatisfy { $0.differences.isEmpty && $0.moving == 0 } }

  /// The maximum number of rows that are named for each table.
  package static let limit = 10_000
  private static let looks = 6
  private static let pause = Duration.milliseconds(300)

  /// Compares the tables of both generations. If checksums differ, it looks several times, since the rows may be
  /// changing.
  package static func compare(
    _ projection: Projection, _ old: Generation, _ new: Generation, on pool: PostgresPool
  ) async throws -> GenerationComparison {
    var tables: [Table] = []
    for (name, contents) in zip(projection.tables, projection.contents) {
      // Another version may have other columns, so only the documents count.
      let isWhole = old.version == new.version
      let (before, after) = (contents(old.table(name), isWhole), contents(new.table(name), isWhole))
      let sums = try await pool.query(
        """
        select * from (select count(*), coalesce(bit_xor(hashtextextended(k || c, 0)), 0) from (\(unescaped: before)) t) o,
          (select count(*), coalesce(bit_xor(hashtextextended(k || c, 0)), 0) from (\(unescaped: after)) t) n
        """, timeout: .seconds(600)
      ).decode((Int, Int64, Int, Int64).self)[0]
      let isEqual = sums.0 == sums.2 && sums.1 == sums.3
      let (suspects, moved) = isEqual ? ([], []) : try await differences(before, after, on: pool)
      tables.append(
        Table(
          name: name, rows: (sums.0, sums.2), checksums: (sums.1, sums.3), differences: suspects.map(\.text).sorted(),
          moving: moved.count))
    }
    return GenerationComparison(tables: tables)
  }

  /// - Returns: keys of rows that differ at the same version, or in the same way at every look; and keys of rows that
  ///   differ in another way at every look.
  private static func differences(
    _ before: String, _ after: String, on pool: PostgresPool
  ) async throws -> (Set<ExactText>, Set<ExactText>) {
    let look: Query = """
      select coalesce(o.k, n.k), concat(o.c, '/', n.c), coalesce(o.v = n.v, false)
      from (select k, v, hashtextextended(c, 0) as c from (\(unescaped: before)) t) o
      full join (select k, v, hashtextextended(c, 0) as c from (\(unescaped: after)) t) n on o.k = n.k
      where o.c is distinct from n.c order by 1 limit \(limit)
      """
    var certain: Set<ExactText> = []
    let differing = { () async throws -> [ExactText: String] in
      let rows = try await pool.query(look, timeout: .seconds(600)).decode((String, String, Bool).self)
      for row in rows where row.2 { certain.insert(ExactText(row.0)) }
      return Dictionary(rows.map { (ExactText($0.0), $0.1) }, uniquingKeysWith: { first, _ in first })
    }
    var suspects = try await differing()
    var moved: Set<ExactText> = []
    for _ in 1..<looks where !suspects.keys.allSatisfy(certain.contains) {
      try await Machine.sleep(for: pause)
      let now = try await differing()
      moved = Set(suspects.keys.filter { now[$0] != nil && now[$0] != suspects[$0] }).union(
        moved.filter { now[$0] != nil })
      suspects = suspects.filter { now[$0.key] == $0.value }
    }
    certain.formUnion(suspects.keys)
    return (certain, moved.subtracting(certain))
  }
}
