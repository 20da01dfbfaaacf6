public import EventSourcing
internal import JSON

/// A row as stored.
struct StoredRow<Row: Sendable>: Sendable {
  let row: Row
  /// `StreamID.wideHash` of the stream that the row belongs to.
  let owner: Int64

  init(_ row: Row, owner: Int64) { (self.row, self.owner) = (row, owner) }
}

extension StreamID {
  /// The hash that a row stores to identify its stream.
  var owner: Int64 { Int64(bitPattern: wideHash) }
}

/// A row before and after some events.
public struct RowChange<Row: Sendable>: Sendable {
  /// The key of the row.
  public let key: String
  /// The stream that the row belongs to.
  public let stream: StreamID
  /// As in `StoredRow`.
  let owner: Int64
  /// The stream's version after the last event.
  public fileprivate(set) var version: Version
  /// The row before the events; nil if it did not exist.
  public fileprivate(set) var before: Row?
  /// The row after the events; nil if it does not exist any more.
  public fileprivate(set) var after: Row?

  func partition(_ partitioning: Partitioning) -> Partition {
    partitioning.partition(ofHash: UInt16(UInt64(bitPattern: owner) >> 48))
  }
}

/// Events and the rows that they change.
struct KeyedEvents<Row: Sendable>: Sendable {
  /// One event, to apply to one row.
  private struct Step: Sendable {
    let row: Int
    let apply: Apply
  }

  private enum Apply: Sendable {
    case event(Int, @Sendable (RecordedEvent, inout Row?) throws -> Void)
    case key(@Sendable (String, inout Row?) throws -> Void)
  }

  private let events: [RecordedEvent]
  private var steps: [Step] = []
  /// In the order of their first events. `fold` adds the rows before and after the events.
  private var rows: [RowChange<Row>] = []
  private var places: [ExactText: Int] = [:]
  /// Keys of rows that may exist already. A key that starts with the first event of a stream has no row yet.
  private(set) var existing: [String] = []

  /// - Throws: `ProjectionFault`
  init(_ events: [RecordedEvent], _ sources: [RowSource<Row>]) throws(ProjectionFault) {
    self.events = events
    steps.reserveCapacity(events.count)
    rows.reserveCapacity(events.count)
    places.reserveCapacity(events.count)
    for (index, event) in events.enumerated() {
      let category = event.stream.category
      for source in sources where category == source.category {
        switch source.rows {
        case .ofStreams(let key, let apply):
          steps.append(Step(row: try place(key(event.stream), event), apply: .event(index, apply)))
        case .ofEvents(let read):
          let (keys, apply) = try ProjectionFault.blaming { try read(event) }
          for key in keys { steps.append(Step(row: try place(key, event), apply: .key(apply))) }
        }
      }
    }
  }

  /// Returns the index of a key's row. Adds the row if the key is new.
  private mutating func place(_ key: String, _ event: RecordedEvent) throws(ProjectionFault) -> Int {
    if let place = places[ExactText(key)] {
      guard rows[place].stream == event.stream else { throw Self.isTaken(key, by: event.stream) }
      rows[place].version = event.version
      return place
    }
    if event.version.rawValue > 1 { existing.append(key) }
    places[ExactText(key)] = rows.count
    rows.append(RowChange(key: key, stream: event.stream, owner: event.stream.owner, version: event.version))
    return rows.count - 1
  }

  private static func isTaken(_ key: String, by stream: StreamID) -> ProjectionFault {
    ProjectionFault(underlying: ProjectionsError("the row \(key), which \(stream) claims, is another stream's"))
  }

  /// Folds the events into rows. Pure.
  /// - Parameter stored: the rows as stored.
  /// - Returns: every row that the events change, in the order of the first events.
  func fold(into stored: [ExactText: StoredRow<Row>]) throws(ProjectionFault) -> [RowChange<Row>] {
    var rows = rows
    for (key, row) in stored {
      guard let place = places[key] else { continue }
      guard row.owner == rows[place].owner else { throw Self.isTaken(key.text, by: rows[place].stream) }
      (rows[place].before, rows[place].after) = (row.row, row.row)
    }
    for step in steps {
      try ProjectionFault.blaming {
        switch step.apply {
        case .event(let index, let apply): try apply(events[index], &rows[step.row].after)
        case .key(let apply): try apply(rows[step.row].key, &rows[step.row].after)
        }
      }
    }
    return rows
  }
}

extension ReadModel {
  /// Folds events into rows. Pure.
  /// - Throws: `ProjectionFault`, or the error of `load`.
  /// - Parameter load: returns the stored rows of some keys.
  /// - Returns: every row that the events change, in the order of the first events.
  func fold(
    _ events: [RecordedEvent], load: ([String]) throws -> [ExactText: StoredRow<Row>]
  ) throws -> [RowChange<Row>] {
    let keyed = try KeyedEvents(events, sources)
    let existing = keyed.existing
    return try keyed.fold(into: existing.isEmpty ? [:] : load(existing))
  }

  /// Returns the JSON of a row, as it is stored and as queries return it.
  /// - Throws: `ProjectionFault`
  public static func document(of row: Row) throws -> [UInt8] {
    try ProjectionFault.blaming {
      var json = JSONWriter(reserving: 256)
      try encode(row, into: &json)
      return json.bytes
    }
  }
}

/// Rows that are folded in memory, from the first event of each stream on.
public struct FoldedRows<Model: ReadModel>: Sendable {
  private var stored: [ExactText: StoredRow<Model.Row>] = [:]

  /// Creates an empty set of rows.
  public init(of _: Model.Type = Model.self) {}

  /// The row with this key; nil if there is none.
  public subscript(key: String) -> Model.Row? { stored[ExactText(key)]?.row }

  /// The keys of all rows.
  public var keys: Set<ExactText> { Set(stored.keys) }

  /// Folds events into the rows.
  /// - Parameters:
  ///   - events: each stream's events in order; they continue where the last call ended.
  ///   - model: folds the events.
  /// - Throws: `ProjectionFault`
  /// - Returns: the rows that the events change.
  @discardableResult
  public mutating func apply(_ events: [RecordedEvent], by model: Model) throws -> [RowChange<Model.Row>] {
    let changes = try changes(of: events, by: model)
    keep(changes)
    return changes
  }

  /// Returns the changes of `apply` without making them.
  func changes(of events: [RecordedEvent], by model: Model) throws -> [RowChange<Model.Row>] {
    try model.fold(events) { keys in keys.reduce(into: [:]) { $0[ExactText($1)] = stored[ExactText($1)] } }
  }

  mutating func keep(_ changes: [RowChange<Model.Row>]) {
    for change in changes { stored[ExactText(change.key)] = change.after.map { StoredRow($0, owner: change.owner) } }
  }
}
