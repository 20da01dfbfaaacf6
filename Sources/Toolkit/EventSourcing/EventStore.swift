public import Failures
public import FoundationEssentials

/// Commands and their events, to append in one atomic step if every stream has its expected version.
public struct AppendBatch: Sendable {
  /// A command of a batch.
  public struct Command: Sendable {
    /// The key under which the response is stored.
    public let key: IdempotencyKey
    /// Whether the service made the key because the client sent none. Such a key may be removed early.
    public let isKeyGenerated: Bool
    /// The fingerprint of the request. A repeated request has the same key and the same fingerprint.
    public let fingerprint: UUID
    /// The number of the batch's events that belong to this command.
    public let eventCount: Int
    /// Stored with the key; nil for a rejection, which is not stored.
    public let response: ResponseTemplate?
    /// Stored with the key, to be carried out later.
    public let deadlines: [Deadline]
    /// The deadline that this command is: the append removes it. nil for any other command.
    public let firing: UUID?

    /// Creates a command of a batch.
    /// - Parameters:
    ///   - key: The key under which the response is stored.
    ///   - isKeyGenerated: Whether the service made the key because the client sent none.
    ///   - fingerprint: The fingerprint of the request.
    ///   - eventCount: The number of the command's events in the batch.
    ///   - response: The response to store; nil to store none.
    ///   - deadlines: The commands that this command schedules.
    ///   - firing: The deadline that this command is; nil for any other command.
    public init(
      key: IdempotencyKey, isKeyGenerated: Bool = false, fingerprint: UUID, eventCount: Int,
      response: ResponseTemplate?,
      deadlines: [Deadline] = [], firing: UUID? = nil
    ) {
      self.key = key
      self.isKeyGenerated = isKeyGenerated
      self.fingerprint = fingerprint
      self.eventCount = eventCount
      self.response = response
      self.deadlines = deadlines
      self.firing = firing
    }
  }

  /// The streams that the decisions read, with their versions at that time; `Version.none` for a stream that did not
  /// exist. A written stream without an expected version takes its events at any version.
  public var expectedVersions: [StreamID: Version]
  /// The id of the history that the batch was decided on; nil if none was known.
  public var historyID: UUID?
  /// The events in the order of their positions. A stream may occur several times.
  public var events: [NewEvent]
  /// The commands, each with a different key.
  public var commands: [Command]

  /// Creates a batch.
  /// - Parameters:
  ///   - expectedVersions: The version that each stream must have.
  ///   - events: The events to append, in order.
  ///   - commands: The commands that the events belong to, in the order of the events.
  public init(expectedVersions: [StreamID: Version], events: [NewEvent], commands: [Command] = []) {
    self.expectedVersions = expectedVersions
    self.events = events
    self.commands = commands
  }
}

/// What became of a batch.
public enum AppendResult: Sendable, Equatable {
  /// The batch is durable. Its events have consecutive positions from `first` on. For a batch without events, `first`
  /// is the position of the next event. `repeats` maps the indexes of commands without events, if their keys were
  /// already known, to the stored responses. `contended`: the written streams whose contention locks other replicas
  /// hold. Those replicas may starve if this one takes no locks.
  case appended(
    first: Position, recordedAt: Timestamp, repeats: [Int: StoredResponse] = [:], contended: Set<StreamID> = [])
  /// Nothing was appended. `conflicts` maps each stream with another version than expected to its version. `repeats`
  /// maps the indexes of commands whose keys were already known to the stored responses.
  case notAppended(conflicts: [StreamID: Version], repeats: [Int: StoredResponse] = [:])
  /// Nothing was appended: the store was restored, and now has another history than the batch was decided on.
  /// `knownHistoryID` is the id of the new history; discard everything known of the old one. `afterLoss`: the outcome
  /// of an earlier attempt is unknown, and its events may be part of the new history.
  case restored(afterLoss: Bool = false)
}

/// Why an operation on a store failed.
public enum EventStoreError: ClassifiedError, Sendable, CustomStringConvertible {
  /// The store could not be reached, or refused for now: nothing was appended.
  case unavailable(String)
  /// The connection was lost during the append: the batch may have been appended, may be appended soon, or not at all.
  case outcomeUnknown(String)
  /// The store can never accept one of the batch's values: nothing was appended.
  case refused(String)
  /// The store's history has changed, and no operator has confirmed the change: nothing was appended.
  case historyChanged(String)
  /// Events that were to be read are archived: an operator must attach them again.
  case archived(String)
  /// The program or the store's schema is wrong: nothing was appended, and a retry does not help.
  case failed(String)

  /// Whether a retry helps. An unknown outcome counts as `retry`: an append with the same keys takes effect once.
  public var failureKind: FailureKind {
    switch self {
    case .unavailable, .outcomeUnknown: .retry
    case .refused: .refused
    case .historyChanged: .historyChanged
    case .archived, .failed: .programmingError
    }
  }

  public var description: String {
    switch self {
    case .archived(let reason): reason
    case .unavailable(let reason): "the event store is unavailable: \(reason)"
    case .outcomeUnknown(let reason): "the outcome of an append is unknown: \(reason)"
    case .refused(let reason): "the event store refused a value: \(reason)"
    case .historyChanged(let reason): "the event store's history has changed: \(reason)"
    case .failed(let reason): "the event store cannot be used as it is: \(reason)"
    }
  }
}

/// How far a stream has been read.
public struct StreamCursor: Sendable, Hashable {
  /// The version of the last event that was read; `Version.none` for the beginning.
  public let version: Version
  /// The position of the event with that version; `start` if it is not known. It saves the store a search.
  public let position: Position

  /// Creates a cursor.
  /// - Parameters:
  ///   - version: The version of the last event that was read.
  ///   - position: The position of that event, if it is known.
  public init(version: Version, position: Position = .start) {
    self.version = version
    self.position = position
  }
}

/// The last event of a partition. An empty partition has the position `start` and no event id.
public struct PartitionHead: Sendable, Hashable {
  /// The partition.
  public let partition: Partition
  /// The position of its last event; `start` if it is empty.
  public let position: Position
  /// The id of its last event; nil if it is empty.
  public let eventID: UUID?

  /// Creates a head.
  public init(partition: Partition, position: Position, eventID: UUID?) {
    self.partition = partition
    self.position = position
    self.eventID = eventID
  }
}

/// A page of one partition's events, in order.
public struct PartitionPage: Sendable, Hashable {
  /// The events of the requested categories, and the first and the last event of the page, whatever their categories.
  public let events: [RecordedEvent]
  /// Whether the page reached the partition's end. It is false if the page ended at its limit, even if no event
  /// follows.
  public let isLast: Bool

  /// Creates a page.
  public init(events: [RecordedEvent], isLast: Bool) {
    self.events = events
    self.isLast = isLast
  }
}

/// Where a page ends: after this many events of any category, or once the requested events after the first have this
/// many bytes of data and metadata. The last event may exceed the bytes.
public struct PageLimit: Sendable, Hashable {
  /// The maximum number of events of any category, from 1.
  public let events: Int
  /// The number of bytes of data and metadata that ends the page. The default is 16 MiB.
  public let bytes: Int

  /// Creates a limit.
  /// - Parameters:
  ///   - events: The maximum number of events, from 1.
  ///   - bytes: The number of bytes of data and metadata that ends the page.
  public init(events: Int, bytes: Int = 16 * 1024 * 1024) {
    self.events = events
    self.bytes = bytes
  }
}

/// Reads streams and appends to them, with optimistic concurrency: all that commands need.
public protocol StreamStore: Sendable {
  /// The store's history id as last seen; nil before the store was first seen.
  var knownHistoryID: UUID? { get }

  /// Appends the whole batch, or nothing of it.
  func append(_ batch: AppendBatch) async throws(EventStoreError) -> AppendResult

  /// Takes the contention locks of these streams, reads their new events, and appends the batch that `decide` returns.
  /// If it returns nil, nothing is appended. The locks are a hint that keeps the other replicas from deciding in vain;
  /// expected versions are checked as in `append`.
  /// - Parameters:
  ///   - streams: How far each stream has been read.
  ///   - limit: The largest number of events to read from each stream.
  ///   - decide: Called at most once.
  func appendHoldingLocks(
    refreshing streams: [StreamID: StreamCursor], limit: Int,
    _ decide: @escaping @Sendable ([StreamID: [RecordedEvent]]) -> AppendBatch?
  ) async throws(EventStoreError) -> AppendResult?

  /// Returns a stream's events after a version, in order, at most `limit`.
  func events(in stream: StreamID, after version: Version, limit: Int) async throws(EventStoreError) -> [RecordedEvent]

  /// Returns the events of several streams, each after its version, in order, at most `limit` per stream. Streams
  /// without such events are left out.
  func events(
    in streams: [StreamID: StreamCursor], limit: Int
  ) async throws(EventStoreError) -> [StreamID: [RecordedEvent]]

  /// Returns the newest snapshots of these streams in these schema versions. A snapshot is left out if the store does
  /// not have its event.
  func snapshots(of streams: [StreamID: Int]) async throws(EventStoreError) -> [StreamID: Snapshot]

  /// Saves a snapshot if it is newer than the stored one.
  func save(_ snapshot: Snapshot) async throws(EventStoreError)
}

/// The events of all streams with dense positions in commit order: what feeds, projections and queries need.
public protocol EventLog: Sendable {
  /// Returns events after a position, in order, at most `limit`.
  func events(after position: Position, limit: Int) async throws(EventStoreError) -> [RecordedEvent]

  /// Returns a partition's events from a position on, in order. The event at that position is included.
  func page(
    of partition: Partition, from position: Position, categories: Set<String>, limit: PageLimit
  ) async throws(EventStoreError) -> PartitionPage

  /// Returns the last position; `start` for an empty store.
  func head() async throws(EventStoreError) -> Position

  /// Returns the last event of every partition, in the order of the partitions.
  func heads(of partitioning: Partitioning) async throws(EventStoreError) -> [PartitionHead]

  /// Returns the id of the store's history. A store that is restored to an earlier time gets another one.
  func historyID() async throws(EventStoreError) -> UUID
}

/// An append-only store of events: its streams, and all of them in one order.
public protocol EventStore: StreamStore, EventLog {}
