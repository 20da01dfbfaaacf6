public import FoundationEssentials

/// A stream's state at one version. Loading the stream starts from it instead of from the first event.
public struct Snapshot: Sendable, Hashable {
  public let stream: StreamID
  /// The version of the fold and of the state's encoding. See `SnapshotPolicy`.
  public let schemaVersion: Int
  public let version: Version
  /// The position and id of the event with that version. The snapshot is valid only while the store has that event.
  public let position: Position
  public let eventID: UUID
  /// The state: a JSON value in UTF-8.
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

/// When snapshots of an aggregate's streams are taken.
public struct SnapshotPolicy: Sendable, Hashable {
  /// The number of events after which the next snapshot is due.
  public let interval: Int
  /// Increase it whenever `apply` or the state's encoding changes. Older snapshots are then ignored, and states are
  /// folded from the events.
  public let schemaVersion: Int

  public init(every interval: Int, schemaVersion: Int) {
    precondition(interval > 0 && schemaVersion > 0, "interval and schema version are at least 1")
    self.interval = interval
    self.schemaVersion = schemaVersion
  }
}

/// An aggregate whose streams may grow to thousands of events. Its encoding is the snapshot.
public protocol SnapshottingAggregate: Aggregate, Codable {
  static var snapshotPolicy: SnapshotPolicy { get }
}
