package import EventSourcing
internal import JSON

/// The tables of generations in memory, as a simulation keeps them in place of PostgreSQL's.
package struct MemoryTables: Sendable {
  /// A row as stored.
  package struct Row: Sendable, Hashable {
    package let version: Int64
    /// `StreamID.wideHash` of the stream that the row belongs to.
    package let owner: Int64
    /// The JSON that queries return.
    package let document: [UInt8]
  }

  /// What a batch changes.
  package struct Changes: Sendable {
    fileprivate var rows: [(table: String, key: ExactText, row: Row?)] = []
    fileprivate var sums: [(table: String, key: TotalsKey, sums: [Int64])] = []

    package init() {}
  }

  /// By table, and key.
  package private(set) var rows: [String: [ExactText: Row]] = [:]
  /// By table, and group.
  package private(set) var sums: [String: [TotalsKey: [Int64]]] = [:]

  package init() {}

  /// Removes a table.
  package mutating func drop(_ table: String) { (rows[table], sums[table]) = (nil, nil) }

  /// Makes changes, which were calculated from the tables as they are.
  package mutating func make(_ changes: Changes) {
    for (table, key, row) in changes.rows { rows[table, default: [:]][key] = row }
    for (table, key, all) in changes.sums { sums[table, default: [:]][key] = all }
  }

  func stored<Model: ReadModel>(
    _ keys: [String], in table: String, as _: Model.Type
  ) throws -> [ExactText: StoredRow<Model.Row>] {
    try ProjectionFault.blaming {
      try keys.reduce(into: [:]) { found, key in
        guard let row = rows[table]?[ExactText(key)] else { return }
        found[ExactText(key)] = StoredRow(try Model.decode(JSON(parsing: row.document)), owner: row.owner)
      }
    }
  }

  /// - Throws: `ProjectionFault`, also where a table would refuse a second row with the same key.
  func changes<Model: ReadModel>(
    by changes: [RowChange<Model.Row>], of table: String, as _: Model.Type
  ) throws -> Changes {
    var result = Changes()
    for change in changes {
      let key = ExactText(change.key)
      guard let row = change.after else {
        if change.before != nil { result.rows.append((table, key, nil)) }
        continue
      }
      guard change.before != nil || rows[table]?[key] == nil else {
        throw ProjectionFault(underlying: ProjectionsError("the row \(change.key) exists already"))
      }
      let stored = Row(
        version: change.version.rawValue, owner: change.owner, document: try Model.document(of: row))
      result.rows.append((table, key, stored))
    }
    return result
  }

  func add<Row>(
    _ amounts: [TotalsKey: [Int64]], of total: TotalsTable<Row>, in table: String, to changes: inout Changes
  ) throws {
    for (key, own) in amounts {
      var all = sums[table]?[key] ?? own.map { _ in 0 }
      try total.combine(&all, own) { $0.addingReportingOverflow($1) }
      changes.sums.append((table, key, all))
    }
  }
}
