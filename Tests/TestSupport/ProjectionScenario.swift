public import EventSourcing
internal import JSON
public import Projections

/// What a read model's rows are after some events, without any server.
///
///     let rows = try Rows(of: Orders(), after: [("order-1", placed), ("order-1", cancelled)])
///     rows["1"]  // the row
///     rows.totals("sales_days")  // [["2026-11-21"]: [1, 2034]]
///
/// Folded twice: one event after the other, each on rows as they are stored, and all at once. What differs is an
/// error, since the engine does either.
public struct Rows<Model: ReadModel> {
  private var singly = FoldedRows<Model>()
  private var totalled: [String: [[String]: [Int64]]] = [:]

  public init(of model: Model, after history: [(stream: String, event: any DomainEvent)]) throws {
    var versions: [String: Int64] = [:]
    let events = try history.enumerated().map { index, entry in
      versions[entry.stream, default: 0] += 1
      let new = try entry.event.new(in: StreamID(rawValue: entry.stream), id: .v7(), metadata: [])
      return RecordedEvent(
        position: Position(Int64(index) + 1), stream: new.stream, version: Version(versions[entry.stream]!),
        hash: new.stream.hash, id: new.id, type: new.type, schemaVersion: new.schemaVersion, data: new.data,
        metadata: [], recordedAt: .now)
    }
    for event in events { _ = try singly.apply([event], by: model) }
    var atOnce = FoldedRows<Model>()
    for change in try atOnce.apply(events, by: model) {
      let (row, other) = (try change.after.map(Model.document), try singly[change.key].map(Model.document))
      guard row == other else {
        throw NeverHappened(description: "\(change.key) is another row when its events are folded one by one")
      }
    }
    for key in singly.keys {
      guard let row = singly[key] else { continue }
      let document = try Model.document(of: row)
      guard try Model.document(of: Model.decode(JSON(parsing: document))) == document else {
        throw NeverHappened(description: "\(key) is another row when it is read back")
      }
      for table in model.totals.flatMap(\.tables) {
        for contribution in table.contributions(row) {
          let sums = totalled[table.name]?[contribution.groups] ?? contribution.amounts.map { _ in 0 }
          totalled[table.name, default: [:]][contribution.groups] = zip(sums, contribution.amounts).map { $0 + $1 }
        }
      }
    }
  }

  public var keys: [String] { singly.keys.sorted() }
  public subscript(key: String) -> Model.Row? { singly[key] }

  /// A row as it is answered.
  public func document(_ key: String) throws -> String? {
    try singly[key].map { String(decoding: try Model.document(of: $0), as: UTF8.self) }
  }

  /// The rows of a table of totals, over all partitions.
  public func totals(_ table: String) -> [[String]: [Int64]] { totalled["read_models.\(table)"] ?? [:] }
}
