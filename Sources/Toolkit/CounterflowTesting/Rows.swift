internal import EventSourcing
internal import JSON
public import Projections

extension Given {
  /// Returns a read model's rows after these events, with their totals.
  ///
  ///     let rows = try given(Account.self, id: "ada", .opened(owner: "Ada"), .deposited(amount: 5))
  ///       .rows(of: Balances())
  ///     #expect(rows["ada"]?.balance == 5)
  ///     #expect(rows.totals("balance_owners") == [["Ada"]: [1, 5]])
  ///
  /// Rows are folded twice: event by event, and from all events at once. A difference is an error, because the engine
  /// does both. It is also an error if a row differs after encoding and decoding.
  /// - Throws: `ProjectionFault` if an event would park its stream; `Mismatch`.
  public func rows<Model: ReadModel>(of model: Model) throws -> Rows<Model> {
    let own = events.filter { event in model.sources.contains { $0.category == event.stream.category } }
    var (single, whole) = (FoldedRows<Model>(), FoldedRows<Model>())
    for event in own { try single.apply([event], by: model) }
    try whole.apply(own, by: model)
    var rows = Rows<Model>(folded: single)
    for key in single.keys.union(whole.keys).map(\.text) {
      let document = try rows.document(key)
      try same(key, document, "folded at once it is", try whole[key].map { try text($0, Model.self) })
      guard let row = single[key], let document else { continue }
      try same(
        key, document, "read as it is written it is",
        try text(Model.decode(JSON(parsing: Array(document.utf8))), Model.self))
      try rows.add(model.totals.flatMap(\.tables), of: row)
    }
    return rows
  }

  private func same(_ key: String, _ expected: String?, _ how: String, _ found: String?) throws {
    guard found != expected else { return }
    let (one, other) = (expected ?? "not there", found ?? "not there")
    throw Mismatch(description: "the row \(key), folded event by event, is \(one); \(how) \(other)")
  }
}

/// The rows of a read model after some events.
public struct Rows<Model: ReadModel>: Sendable {
  fileprivate let folded: FoldedRows<Model>
  private var totalled: [String: [[String]: [Int64]]] = [:]

  fileprivate init(folded: FoldedRows<Model>) { self.folded = folded }

  fileprivate mutating func add(_ tables: [TotalsTable<Model.Row>], of row: Model.Row) throws {
    for table in tables {
      for contribution in table.contributions(row) {
        let sums = totalled[table.name]?[contribution.groups] ?? contribution.amounts.map { _ in 0 }
        totalled[table.name, default: [:]][contribution.groups] = try zip(sums, contribution.amounts).map {
          sum, amount in
          let (added, isOver) = sum.addingReportingOverflow(amount)
          guard !isOver else { throw Mismatch(description: "a sum of \(table.name) does not fit in 64 bits") }
          return added
        }
      }
    }
  }

  /// The keys of all rows, sorted.
  public var keys: [String] { folded.keys.map(\.text).sorted() }

  /// The row with this key; nil if there is none.
  public subscript(key: String) -> Model.Row? { folded[key] }

  /// Returns a row as the JSON of a query's answer; nil if there is no such row.
  public func document(_ key: String) throws -> String? { try folded[key].map { try text($0, Model.self) } }

  /// Returns the sums of a table of totals, by group. The group's values are text; the sums are in the order of their
  /// declaration.
  public func totals(_ table: String) -> [[String]: [Int64]] { totalled["read_models.\(table)"] ?? [:] }
}

private func text<Model: ReadModel>(_ row: Model.Row, _: Model.Type) throws -> String {
  String(decoding: try Model.document(of: row), as: UTF8.self)
}
