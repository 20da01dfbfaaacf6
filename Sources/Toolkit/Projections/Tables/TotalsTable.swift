internal import EventSourcing
internal import Postgres

package struct TotalsKey: Hashable, Sendable {
  package let partition: Int
  /// The groups' values as text, in the order of the groups' columns.
  let groups: [String]

  package static func == (a: TotalsKey, b: TotalsKey) -> Bool {
    a.partition == b.partition && a.groups.count == b.groups.count
      && zip(a.groups, b.groups).allSatisfy { ExactText($0) == ExactText($1) }
  }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(partition)
    for group in groups { hasher.combine(ExactText(group)) }
  }
}

/// The amounts that one element adds to one row.
@usableFromInline
package struct TotalsContribution: Sendable, Hashable {
  package let groups: [String]
  package let amounts: [Int64]

  @usableFromInline
  init(_ groups: [String], _ amounts: [Int64]) { (self.groups, self.amounts) = (groups, amounts) }
}

/// One table of totals: a row per partition and group.
@usableFromInline
package struct TotalsTable<Row: Sendable>: Sendable {
  /// Qualified with the schema.
  package let name: String
  private let keys: [(name: String, type: String)]
  private let sums: [String]
  /// The amounts that a row adds. When a row changes, the engine first subtracts the old row's amounts.
  package let contributions: @Sendable (Row) -> [TotalsContribution]
  /// The SQL after the table's name in an insert. `addition` follows it if the rows may exist already.
  private let insert: String
  private let addition: String

  /// - Parameter name: without the schema.
  @usableFromInline
  init(
    _ name: String, keys: [(name: String, type: String)], sums: [String],
    _ contributions: @escaping @Sendable (Row) -> [TotalsContribution]
  ) {
    self.name = readModelsName + "." + name
    self.keys = keys
    self.sums = sums
    self.contributions = contributions
    insert = insertionSQL([("partition", "integer")] + keys + sums.map { (name: $0, type: "bigint") })
    let identity = (["partition"] + keys.map(\.name)).joined(separator: ", ")
    let updates = sums.map { "\($0) = t.\($0) + excluded.\($0)" }.joined(separator: ", ")
    addition = " on conflict (\(identity)) do update set \(updates)"
  }

  /// The name without the schema, and the columns except `partition`.
  package var description: (name: String, keys: [(name: String, type: String)], sums: [String]) {
    (String(name.dropFirst(readModelsName.count + 1)), keys, sums)
  }

  /// SQL that creates the shape.
  var definition: String {
    let groups = keys.map { "\n  \($0.name) \($0.type)\($0.type == "text" ? " collate \"C\"" : "") not null," }.joined()
    let amounts = sums.map { "\n  \($0) bigint not null," }.joined()
    let identity = (keys.map(\.name) + ["partition"]).joined(separator: ", ")
    return """
      create table \(name)_shape (\(groups)
        partition integer not null,\(amounts)
        primary key (\(identity)));
      """
  }

  /// Returns the amounts that the changes add to each row of totals. Rows without a change are left out.
  func sums(of changes: [RowChange<Row>], _ partitioning: Partitioning) throws -> [TotalsKey: [Int64]] {
    let zeros = Array(repeating: Int64(0), count: sums.count)
    var totals: [TotalsKey: [Int64]] = [:]
    for change in changes {
      let partition = change.partition(partitioning).index
      for contribution in change.before.map(contributions) ?? [] {
        let key = TotalsKey(partition: partition, groups: contribution.groups)
        try combine(&totals[key, default: zeros], contribution.amounts) { $0.subtractingReportingOverflow($1) }
      }
      for contribution in change.after.map(contributions) ?? [] {
        let key = TotalsKey(partition: partition, groups: contribution.groups)
        try combine(&totals[key, default: zeros], contribution.amounts) { $0.addingReportingOverflow($1) }
      }
    }
    return totals.filter { $0.value.contains { $0 != 0 } }
  }

  func combine(
    _ sums: inout [Int64], _ amounts: [Int64], _ operation: (Int64, Int64) -> (partialValue: Int64, overflow: Bool)
  ) throws(ProjectionFault) {
    for index in sums.indices {
      let (sum, overflows) = operation(sums[index], amounts[index])
      guard !overflows else {
        throw ProjectionFault(underlying: ProjectionsError("a sum in \(name) does not fit in 64 bits"))
      }
      sums[index] = sum
    }
  }

  /// Returns SQL for the rows as text, summed over the partitions. Rows whose sums are all 0 are left out.
  func contents(of target: String, where condition: String = "true") -> String {
    let key = keys.map { $0.type == "timestamptz" ? textOfTime($0.name) : "\($0.name)::text" }
      .joined(separator: ", ")
    let totals = sums.map { "sum(\($0))" }
    let groups = keys.isEmpty ? "" : " group by " + keys.map(\.name).joined(separator: ", ")
    return """
      select concat_ws(' / ', \(keys.isEmpty ? "''" : key)) as k, concat_ws(',', \(totals.joined(separator: ", "))) as c,
        null::bigint as v
      from \(target) where \(condition)\(groups)
      having \(totals.map { "\($0) <> 0" }.joined(separator: " or "))
      """
  }

  func contents(of target: String, partition: Int) -> Query {
    Query(
      "select k, c from (\(contents(of: target, where: "partition = $1"))) t", [PostgresValue(Int32(partition))])
  }

  /// Returns a statement that adds to many rows, in the order of their keys so that transactions do not deadlock.
  func add(_ rows: [TotalsKey: [Int64]], to target: String) -> Query {
    let rows = rows.sorted {
      ($0.key.partition, $0.key.groups.joined(separator: "\u{0}")) < (
        $1.key.partition, $1.key.groups.joined(separator: "\u{0}")
      )
    }
    return insertion(rows, into: target, then: addition)
  }

  /// Returns a statement that inserts many rows.
  func insertion(
    _ rows: [(key: TotalsKey, value: [Int64])], into target: String, then conflict: String = ""
  ) -> Query {
    var values = [PostgresValue(PostgresArray(rows.map { Int32($0.key.partition) }))]
    for index in keys.indices { values.append(PostgresValue(PostgresArray(rows.map { $0.key.groups[index] }))) }
    for index in sums.indices { values.append(PostgresValue(PostgresArray(rows.map { $0.value[index] }))) }
    return Query("insert into " + target + " as t" + insert + conflict, values)
  }
}

/// Returns SQL for a time in the format of `Timestamp.fullDescription`, whatever the session's time zone.
package func textOfTime(_ time: String) -> String {
  "to_char(\(time) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
}
