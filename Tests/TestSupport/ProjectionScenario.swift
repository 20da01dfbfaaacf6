public import EventSourcing
public import Projections

/// What a projection's rows are after some events, without any server.
///
///     let rows = try Rows(of: OrdersProjection(), after: [("order-1", placed), ("order-1", cancelled)])
///     rows["1"]  // the document
///     rows.sums("read_models.sales")  // [["2026-11-21"]: [1, 2034]]
///
/// Folded twice: one event after the other, each on rows as they are stored, and all at once. What differs is an
/// error, since the engine does either.
public struct Rows<Projecting: Projection> {
  public private(set) var documents: [String: Projecting.Document] = [:]
  private var aggregated: [String: [[String]: [Int64]]] = [:]

  public init(of projection: Projecting, after history: [(stream: String, event: any DomainEvent)]) throws {
    var versions: [String: Int64] = [:]
    let events = try history.enumerated().map { index, entry in
      versions[entry.stream, default: 0] += 1
      let new = try entry.event.new(in: StreamID(rawValue: entry.stream), id: .v7(), metadata: [])
      return RecordedEvent(
        position: Position(Int64(index) + 1), stream: new.stream, version: Version(versions[entry.stream]!),
        hash: new.stream.hash, id: new.id, type: new.type, schemaVersion: new.schemaVersion, data: new.data,
        metadata: [], recordedAt: .now)
    }
    let table = projection.table
    for event in events {
      for change in try projection.fold([event], load: { keys in documents.filter { keys.contains($0.key) } }) {
        documents[change.key] = try change.after.map { try table.decode(table.encode($0)) }
      }
    }
    for change in try projection.fold(events, load: { _ in [:] }) {
      guard change.after.map(table.encode) == documents[change.key].map(table.encode) else {
        throw NeverHappened(description: "\(change.key) is another row when its events are folded one by one")
      }
    }
    for aggregate in projection.aggregates {
      for contribution in documents.values.flatMap(aggregate.contributions) {
        let sums = aggregated[aggregate.name]?[contribution.key] ?? contribution.amounts.map { _ in 0 }
        aggregated[aggregate.name, default: [:]][contribution.key] = zip(sums, contribution.amounts).map { $0 + $1 }
      }
    }
  }

  public subscript(key: String) -> Projecting.Document? { documents[key] }

  /// An aggregate table's rows, over all partitions.
  public func sums(_ table: String) -> [[String]: [Int64]] { aggregated[table] ?? [:] }
}
