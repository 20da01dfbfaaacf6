public import FoundationEssentials

/// A stream's state at one version. Loading the stream starts from it instead of from the first event.
public struct Snapshot: Sendable, Hashable {
  /// The stream.
  public let stream: StreamID
  /// The version of the fold and of the state's encoding. See `SnapshotPolicy`.
  public let schemaVersion: Int
  /// The version of the last event that the state includes.
  public let version: Version
  /// The position and id of the event with that version. The snapshot is valid only while the store has that event.
  public let position: Position
  /// The id of the event with that version.
  public let eventID: UUID
  /// The state: a JSON value in UTF-8.
  public let state: [UInt8]

  /// Creates a snapshot.
  /// - Parameters:
  ///   - stream: The stream.
  ///   - schemaVersion: The version of the fold and of the state's encoding.
  ///   - version: The version of the last event that the state includes.
  ///   - position: The position of that event.
  ///   - eventID: The id of that event.
  ///   - state: The state: a JSON value in UTF-8.
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

  /// Creates a policy.
  /// - Parameters:
  ///   - interval: The number of events between two snapshots, from 1.
  ///   - schemaVersion: The version of the fold and of the state's encoding, from 1.
  public init(every interval: Int, schemaVersion: Int) {
    precondition(interval > 0 && schemaVersion > 0, "interval and schema version are at least 1")
    self.interval = interval
    self.schemaVersion = schemaVersion
  }
}

/// An aggregate whose streams may grow to thousands of events. Its encoding is the snapshot.
public protocol SnapshottingAggregate: Aggregate, Codable {
  /// When snapshots are made, and which are valid.
  static var snapshotPolicy: SnapshotPolicy { get }
}
