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
  /// As `StoredRow` has it.
  let owner: Int64
  /// Of the last event.
  public fileprivate(set) var version: Version
  /// nil where there is no row yet.
  public fileprivate(set) var before: Row?
  /// nil where there is no row any more.
  public fileprivate(set) var after: Row?

  func partition(_ partitioning: Partitioning) -> Partition {
    partitioning.partition(ofHash: UInt16(UInt64(bitPattern: owner) >> 48))
  }
}

/// Events with the rows that they concern.
struct KeyedEvents<Row: Sendable>: Sendable {
  /// One event and one row.
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
  /// In the order of their first events; with what these make of them in `fold`.
  private var rows: [RowChange<Row>] = []
  private var places: [ExactText: Int] = [:]
  /// Keys of rows that may be there: what begins here has none yet.
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

  /// Where the row of a key is, which may be the first time that it is asked for.
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

  /// Folds the events into rows; pure.
  /// - Parameter stored: the rows as they are stored.
  /// - Returns: every row that the events concern, in the order of their first ones.
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
  /// Folds events into rows; pure.
  /// - Throws: `ProjectionFault`, or what `load` throws.
  /// - Parameter load: gives the rows as they are stored.
  /// - Returns: every row that the events concern, in the order of their first ones.
  func fold(
    _ events: [RecordedEvent], load: ([String]) throws -> [ExactText: StoredRow<Row>]
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
  private var stored: [ExactText: StoredRow<Model.Row>] = [:]

  public init(of _: Model.Type = Model.self) {}

  public subscript(key: String) -> Model.Row? { stored[ExactText(key)]?.row }

  public var keys: Set<ExactText> { Set(stored.keys) }

  /// - Parameter events: each stream's in order, following those of the last call.
  /// - Throws: `ProjectionFault`
  /// - Returns: what they change.
  @discardableResult
  public mutating func apply(_ events: [RecordedEvent], by model: Model) throws -> [RowChange<Model.Row>] {
    let changes = try model.fold(events) { keys in
      keys.reduce(into: [:]) { $0[ExactText($1)] = stored[ExactText($1)] }
    }
    for change in changes { stored[ExactText(change.key)] = change.after.map { StoredRow($0, owner: change.owner) } }
    return changes
  }
}
