public import FoundationEssentials

/// A stream's folded state as of one of its events, so that loading the stream need not begin at its first.
public struct Snapshot: Sendable, Hashable {
  public let stream: StreamID
  /// Of the fold and the state's form; see `SnapshotPolicy`.
  public let schemaVersion: Int
  public let version: Version
  /// The position and id of the event with that version: a snapshot counts only while that event is there.
  public let position: Position
  public let eventID: UUID
  /// A JSON value in UTF-8.
  public let state: [UInt8]

  public init(
    stream: StreamID, schemaVersion: Int, version: Version, position: Position, eventID: UUID, state: [UInt8]
  ) {
    self.stream = stream
    self.schemaVersion = schemaVersion
    self.version = version
    self.position = position
    self.eventID = eventID
    self.state = state
  }
}

/// When an aggregate's streams are kept as snapshots.
public struct SnapshotPolicy: Sendable, Hashable {
  /// Events after which the next snapshot is due.
  public let interval: Int
  /// Raise it whenever `apply` or the snapshot's form changes: older snapshots are then left alone, and
  /// states are folded anew from the events.
  public let schemaVersion: Int

  public init(every interval: Int, schemaVersion: Int) {
    precondition(interval > 0 && schemaVersion > 0, "interval and schema version are at least 1")
    self.interval = interval
    self.schemaVersion = schemaVersion
  }
}

/// An aggregate whose streams may grow to thousands of events. A snapshot is what it is encoded as.
public protocol SnapshottingAggregate: Aggregate, Codable {
  static var snapshotPolicy: SnapshotPolicy { get }
}
