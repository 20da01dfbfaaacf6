internal import EventSourcing
internal import Postgres

/// What a batch of events does to a read store: what is read first, and what is to be written then.
struct BatchPlan: Sendable {
  /// nil where no row is needed.
  let load: Query?
  /// - Parameter rows: what `load` answered.
  let statements: @Sendable (_ rows: ResultSet?) throws -> [Statement]
}

extension Projection {
  /// Plans how to read, fold and write what `events` concern.
  func plan(for events: [RecordedEvent], in generation: Generation) throws -> BatchPlan {
    let target = generation.table(table.name)
    let keyed = try KeyedEvents(events, of: self)
    let existing = keyed.existing
    return BatchPlan(load: existing.isEmpty ? nil : table.select(existing, from: target)) { rows in
      let rows = try rows?.decode((String, PostgresBytes).self) ?? []
      let before = try ProjectionFault.blaming {
        Dictionary(uniqueKeysWithValues: try rows.map { ($0.0, try table.decode($0.1.bytes)) })
      }
      return try statements(for: try changes(keyed, before), in: generation)
    }
  }

  private func statements(for changes: [RowChange<Document>], in generation: Generation) throws -> [Statement] {
    let target = generation.table(table.name)
    let rows = { (isNew: Bool) in
      changes.compactMap { change in
        change.isNew != isNew
          ? nil : change.after.map { DocumentTable.Row(key: change.key, version: change.version, document: $0) }
      }
    }
    var statements = [true, false].compactMap { table.write(rows($0), areNew: $0, to: target) }
    let gone = changes.filter { $0.after == nil && !$0.isNew }.map { $0.key }
    if !gone.isEmpty { statements.append(.query(table.delete(gone, from: target))) }
    for aggregate in aggregates {
      let sums = try aggregate.sums(of: changes, generation)
      if !sums.isEmpty { statements.append(.query(aggregate.add(sums, to: generation.table(aggregate.name)))) }
    }
    return statements
  }
}

struct AggregateKey: Hashable, Sendable {
  let partition: Int
  let key: [String]
}

extension DocumentTable {
  struct Row {
    let key: String
    let version: Version
    let document: Document
  }

  func select(_ keys: [String], from target: String) -> Query {
    "select key, document from \(unescaped: target) where key = any(\(array: keys))"
  }

  func delete(_ keys: [String], from target: String) -> Query {
    "delete from \(unescaped: target) where key = any(\(array: keys))"
  }

  /// From how many rows on a COPY, with its round trips, is faster than an insert.
  private static var copyThreshold: Int { 32 }

  /// Writes rows, set-based; nil for none.
  /// - Parameter areNew: they are not there yet; otherwise they may be, and are replaced.
  func write(_ rows: [Row], areNew: Bool, to target: String) -> Statement? {
    guard !rows.isEmpty else { return nil }
    // Closures: in generic code a key path is made anew at each use.
    let documents = rows.map { $0.document }
    let values =
      [
        PostgresValue(PostgresArray(rows.map { $0.key })),
        PostgresValue(PostgresArray(rows.map { $0.version.rawValue })),
        PostgresValue(PostgresArray(documents.map { PostgresText(utf8: encode($0)) })),
      ] + columns.map { $0.values(documents) }
    if areNew, rows.count >= Self.copyThreshold {
      let types = ["text", "bigint", "json"] + columns.map(\.type)
      if zip(values, types).allSatisfy({ $0.isArray(of: $1) }) {
        let names = ["key", "version", "document"] + columns.map(\.name)
        return .copy(into: target, columns: zip(names, values).map { (name: $0, values: $1) })
      }
    }
    return .query(Query("insert into " + target + insert + (areNew ? "" : update), values))
  }
}

extension AggregateTable {
  /// What the changes come to, row by row.
  func sums(of changes: [RowChange<Document>], _ generation: Generation) throws -> [AggregateKey: [Int64]] {
    var sums: [AggregateKey: [Int64]] = [:]
    for change in changes {
      let partition = generation.partitioning.partition(ofHash: change.hash).index
      for (document, add) in [(change.before, false), (change.after, true)] {
        guard let document else { continue }
        for contribution in contributions(document) {
          let key = AggregateKey(partition: partition, key: contribution.key)
          var row = sums[key] ?? Array(repeating: 0, count: self.sums.count)
          for (index, amount) in contribution.amounts.enumerated() {
            let (sum, overflows) =
              add ? row[index].addingReportingOverflow(amount) : row[index].subtractingReportingOverflow(amount)
            guard !overflows else {
              throw ProjectionFault(underlying: ProjectionsError("a sum in \(name) does not fit in 64 bits"))
            }
            row[index] = sum
          }
          sums[key] = row
        }
      }
    }
    return sums.filter { $0.value.contains { $0 != 0 } }
  }

  /// SQL for its rows as text, summed over the partitions; sums that are all 0 count as absent.
  func contents(of target: String, where condition: String = "true") -> String {
    let key = keys.map { "\($0.name)::text" }.joined(separator: ", ")
    let totals = sums.map { "sum(\($0))" }
    return """
      select concat_ws(' / ', \(key)) as k, concat_ws(',', \(totals.joined(separator: ", "))) as c, null::bigint as v
      from \(target) where \(condition) group by \(keys.map(\.name).joined(separator: ", "))
      having \(totals.map { "\($0) <> 0" }.joined(separator: " or "))
      """
  }

  func contents(of target: String, partition: Int) -> Query {
    Query(
      "select k, c from (\(contents(of: target, where: "partition = $1"))) t", [PostgresValue(Int32(partition))])
  }

  /// Adds to rows, set-based; in the order of their keys, so that nobody waits in a circle.
  func add(_ rows: [AggregateKey: [Int64]], to target: String) -> Query {
    let rows = rows.sorted {
      ($0.key.partition, $0.key.key.joined(separator: "\u{0}")) < (
        $1.key.partition, $1.key.key.joined(separator: "\u{0}")
      )
    }
    return insertion(rows, into: target, then: addition)
  }

  /// New rows, set-based.
  func insertion(
    _ rows: [(key: AggregateKey, value: [Int64])], into target: String, then conflict: String = ""
  ) -> Query {
    var values = [PostgresValue(PostgresArray(rows.map { Int32($0.key.partition) }))]
    for index in keys.indices { values.append(PostgresValue(PostgresArray(rows.map { $0.key.key[index] }))) }
    for index in sums.indices { values.append(PostgresValue(PostgresArray(rows.map { $0.value[index] }))) }
    return Query("insert into " + target + " as t" + insert + conflict, values)
  }
}
