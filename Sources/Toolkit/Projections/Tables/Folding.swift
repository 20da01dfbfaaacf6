public import EventSourcing
internal import JSON

/// A row as it is stored.
struct StoredRow<Row: Sendable>: Sendable {
  let row: Row
  /// `StreamID.wideHash` of the stream that the row belongs to.
  let owner: Int64

  init(_ row: Row, owner: Int64) { (self.row, self.owner) = (row, owner) }
}

extension StreamID {
  /// What a row remembers of the stream that it belongs to.
  var owner: Int64 { Int64(bitPattern: wideHash) }
}

/// A row before and after some events.
public struct RowChange<Row: Sendable>: Sendable {
  public let key: String
  public let stream: StreamID
  /// Of the last event.
  public let version: Version
  /// nil where there is no row yet.
  public let before: Row?
  /// nil where there is no row any more.
  public let after: Row?
}

/// Events with the rows that they concern.
struct KeyedEvents<Row: Sendable>: Sendable {
  private var changes: [(version: Version, change: RowSource<Row>.Change)] = []
  /// Keys in the order of their first events.
  private var order: [String] = []
  private var firsts: [String: RecordedEvent] = [:]

  /// Keys of rows that may be there: what begins here has none yet.
  var existing: [String] { order.filter { firsts[$0]!.version.rawValue > 1 } }

  /// - Throws: `ProjectionFault`
  init(_ events: [RecordedEvent], _ sources: [RowSource<Row>]) throws(ProjectionFault) {
    for event in events {
      let category = event.stream.category
      for source in sources where category == source.category {
        for change in try ProjectionFault.blaming({ try source.changes(event) }) {
          if let first = firsts[change.key] {
            guard first.stream == event.stream else { throw Self.isTaken(change.key, by: event.stream) }
          } else {
            firsts[change.key] = event
            order.append(change.key)
          }
          changes.append((event.version, change))
        }
      }
    }
  }

  private static func isTaken(_ key: String, by stream: StreamID) -> ProjectionFault {
    ProjectionFault(underlying: ProjectionsError("the row \(key), which \(stream) claims, is another stream's"))
  }

  /// Folds the events into rows; pure.
  /// - Parameter stored: the rows as they are stored.
  /// - Returns: every row that the events concern, in the order of their first ones.
  func fold(into stored: [String: StoredRow<Row>]) throws(ProjectionFault) -> [RowChange<Row>] {
    for key in order {
      guard let row = stored[key], let stream = firsts[key]?.stream, row.owner != stream.owner else { continue }
      throw Self.isTaken(key, by: stream)
    }
    var after = stored.mapValues(\.row)
    var versions: [String: Version] = [:]
    for (version, change) in changes {
      var row = after[change.key]
      try ProjectionFault.blaming { try change.apply(&row) }
      after[change.key] = row
      versions[change.key] = version
    }
    return order.map { key in
      RowChange(
        key: key, stream: firsts[key]!.stream, version: versions[key]!, before: stored[key]?.row, after: after[key])
    }
  }
}

extension ReadModel {
  /// Folds events into rows; pure.
  /// - Throws: `ProjectionFault`, or what `load` throws.
  /// - Parameter load: gives the rows as they are stored.
  /// - Returns: every row that the events concern, in the order of their first ones.
  func fold(
    _ events: [RecordedEvent], load: ([String]) throws -> [String: StoredRow<Row>]
  ) throws -> [RowChange<Row>] {
    let keyed = try KeyedEvents(events, sources)
    let existing = keyed.existing
    return try keyed.fold(into: existing.isEmpty ? [:] : load(existing))
  }

  /// A row as it is stored and answered.
  /// - Throws: `ProjectionFault`
  public static func document(of row: Row) throws -> [UInt8] {
    try ProjectionFault.blaming {
      var json = JSONWriter(reserving: 256)
      try encode(row, into: &json)
      return json.bytes
    }
  }
}

/// Rows that events are folded into in memory, from their streams' first ones on.
public struct FoldedRows<Model: ReadModel>: Sendable {
  private var stored: [String: StoredRow<Model.Row>] = [:]

  public init(of _: Model.Type = Model.self) {}

  public subscript(key: String) -> Model.Row? { stored[key]?.row }

  public var keys: Set<String> { Set(stored.keys) }

  /// - Parameter events: each stream's in order, following those of the last call.
  /// - Throws: `ProjectionFault`
  /// - Returns: what they change.
  @discardableResult
  public mutating func apply(_ events: [RecordedEvent], by model: Model) throws -> [RowChange<Model.Row>] {
    let changes = try model.fold(events) { keys in keys.reduce(into: [:]) { $0[$1] = stored[$1] } }
    for change in changes { stored[change.key] = change.after.map { StoredRow($0, owner: change.stream.owner) } }
    return changes
  }
}
