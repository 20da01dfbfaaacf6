public import Failures
public import FoundationEssentials

/// Names one request of one caller, so that it takes effect once however often it is sent.
public struct IdempotencyKey: Hashable, Sendable, CustomStringConvertible {
  /// Bounds on the key, in bytes of UTF-8; a scope may have up to 255 and may be empty.
  public static let lengths = 1...255

  /// Whose key it is: the same key of another caller is another key.
  public let scope: String
  public let key: String

  /// - Precondition: both are within their bounds; who takes keys from outside checks them first.
  public init(scope: String, key: String) {
    precondition(Self.lengths.contains(key.utf8.count) && scope.utf8.count <= 255, "a key has 1 to 255 bytes")
    self.scope = scope
    self.key = key
  }

  public var description: String { key }
}

/// What a command is answered, in UTF-8; opaque to the store, which keeps it with the command's key.
///
/// Where the response names a position that only the append decides, it holds `positionMark`, and `offset`
/// says which of the batch's events is meant.
public struct ResponseTemplate: Sendable, Hashable {
  public static let positionMark: UInt8 = 1

  public let text: [UInt8]
  /// Counted from 0 in the batch's events.
  public let offset: Int?

  public init(_ text: [UInt8], offset: Int? = nil) {
    self.text = text
    self.offset = offset
  }

  /// The response as it is stored and sent.
  /// - Parameter first: the position of the batch's first event.
  public func text(first: Position) -> [UInt8] {
    guard let offset else { return text }
    let position = Array(String(first.rawValue + Int64(offset)).utf8)
    return text.reduce(into: []) { text, byte in
      if byte == Self.positionMark { text += position } else { text.append(byte) }
    }
  }
}

/// A response as it was stored, with the fingerprint of the request that it answered.
public struct StoredResponse: Sendable, Hashable {
  public let fingerprint: UUID
  public let text: [UInt8]

  public init(fingerprint: UUID, text: [UInt8]) {
    self.fingerprint = fingerprint
    self.text = text
  }
}

/// Commands and their events, to be appended in one atomic step if every stream has its expected version.
public struct AppendBatch: Sendable {
  public struct Command: Sendable {
    public let key: IdempotencyKey
    /// Whether no client has chosen the key: it need not be kept for long.
    public let isKeyGenerated: Bool
    /// Of the request: what is sent again with the same key has the same.
    public let fingerprint: UUID
    /// How many of the batch's events are its own.
    public let eventCount: Int
    /// Stored with the key; nil for a rejection, of which nothing is stored.
    public let response: ResponseTemplate?

    public init(
      key: IdempotencyKey, isKeyGenerated: Bool = false, fingerprint: UUID, eventCount: Int, response: ResponseTemplate?
    ) {
      self.key = key
      self.isKeyGenerated = isKeyGenerated
      self.fingerprint = fingerprint
      self.eventCount = eventCount
      self.response = response
    }
  }

  /// Streams that the decisions read, and the version that each had then; `Version.none` for a stream
  /// that was not there. A stream that is written without an expected version takes the events at any version.
  public var expectedVersions: [StreamID: Version]
  /// The history id of the history that it was decided on; nil where it was decided on none.
  public var historyID: UUID?
  /// In the order in which they take their positions. A stream may occur several times.
  public var events: [NewEvent]
  /// No key occurs twice.
  public var commands: [Command]

  public init(expectedVersions: [StreamID: Version], events: [NewEvent], commands: [Command] = []) {
    self.expectedVersions = expectedVersions
    self.events = events
    self.commands = commands
  }
}

public enum AppendResult: Sendable, Equatable {
  /// Durable. The events have the positions from `first` on, in order; for a batch without events
  /// `first` is the position that the next event will have. `repeats` are commands without events whose
  /// keys were known, by their index: they have been answered before. When others hold
  /// the contention lock of streams that were written, these are `contended`: a replica that takes none may starve them.
  case appended(
    first: Position, recordedAt: Timestamp, repeats: [Int: StoredResponse] = [:], contended: Set<StreamID> = [])
  /// Nothing was appended: these streams have other versions than expected, or commands with
  /// events have been answered before.
  case notAppended(conflicts: [StreamID: Version], repeats: [Int: StoredResponse] = [:])
  /// Nothing was appended: the store was restored and begins another history than the batch is of, which it names
  /// as `knownHistoryID` from now on. What was known of the old one is void. `afterLoss`: an earlier attempt
  /// was lost, and may be part of the new one.
  case restored(afterLoss: Bool = false)
}

public enum EventStoreError: ClassifiedError, Sendable, CustomStringConvertible {
  /// The store could not be reached, or refused for now: nothing was appended.
  case unavailable(String)
  /// The connection was lost in the middle: the batch may or may not have been appended, now or soon.
  case outcomeUnknown(String)
  /// The store does not take one of the batch's values, and never will: nothing was appended.
  case refused(String)
  /// The store is not the one it was, and nobody has said that this is meant: nothing was appended.
  case historyChanged(String)
  /// The program or the store's schema is at fault: nothing was appended, and trying again does not help.
  case failed(String)

  public var failureKind: FailureKind {
    switch self {
    case .unavailable, .outcomeUnknown: .retry
    case .refused: .refused
    case .historyChanged: .historyChanged
    case .failed: .programmingError
    }
  }

  public var description: String {
    switch self {
    case .unavailable(let reason): "the event store is unavailable: \(reason)"
    case .outcomeUnknown(let reason): "the outcome of an append is unknown: \(reason)"
    case .refused(let reason): "the event store refused a value: \(reason)"
    case .historyChanged(let reason): "the event store's history has changed: \(reason)"
    case .failed(let reason): "the event store cannot be used as it is: \(reason)"
    }
  }
}

/// Up to where a stream is known.
public struct StreamCursor: Sendable, Hashable {
  public let version: Version
  /// Of the event with that version; `start` where it is not known. Spares a store to search for it.
  public let position: Position

  public init(version: Version, position: Position = .start) {
    self.version = version
    self.position = position
  }
}

/// The last event of a partition: `start` and nil where it has none.
public struct PartitionHead: Sendable, Hashable {
  public let partition: Partition
  public let position: Position
  public let eventID: UUID?

  public init(partition: Partition, position: Position, eventID: UUID?) {
    self.partition = partition
    self.position = position
    self.eventID = eventID
  }
}

/// Some consecutive events of one partition.
public struct PartitionPage: Sendable, Hashable {
  /// Those of the categories that were asked for, and whatever they are the first one and the last one.
  public let events: [RecordedEvent]
  /// Whether there was nothing more behind them.
  public let isLast: Bool

  public init(events: [RecordedEvent], isLast: Bool) {
    self.events = events
    self.isLast = isLast
  }
}

/// Where a page ends: at so many events, wanted or not, or where those behind the first come to so many bytes of data
/// and metadata, which the last one may pass.
public struct PageLimit: Sendable, Hashable {
  public let events: Int
  public let bytes: Int

  public init(events: Int, bytes: Int = 16 * 1024 * 1024) {
    self.events = events
    self.bytes = bytes
  }
}

/// An append-only store of events with dense positions in commit order and optimistic concurrency.
public protocol EventStore: Sendable {
  /// The store's history id as it was last seen; nil before it was.
  var knownHistoryID: UUID? { get }

  func append(_ batch: AppendBatch) async throws(EventStoreError) -> AppendResult

  /// Takes the contention locks of these streams, reads what is new in them, and appends what
  /// `decide` makes of it; nil appends nothing. The locks are a hint that keeps replicas from deciding in
  /// vain: expected versions are checked as ever.
  /// - Parameters:
  ///   - streams: up to where each is known.
  ///   - limit: events read of each at most.
  ///   - decide: called at most once.
  func appendHoldingLocks(
    refreshing streams: [StreamID: StreamCursor], limit: Int,
    _ decide: @escaping @Sendable ([StreamID: [RecordedEvent]]) -> AppendBatch?
  ) async throws(EventStoreError) -> AppendResult?

  /// A stream's events after a version, in order, at most `limit`.
  func events(in stream: StreamID, after version: Version, limit: Int) async throws(EventStoreError) -> [RecordedEvent]

  /// The events of several streams after a version each, in order, at most `limit` of each; streams
  /// without any are left out.
  func events(
    in streams: [StreamID: StreamCursor], limit: Int
  ) async throws(EventStoreError) -> [StreamID: [RecordedEvent]]

  /// The newest snapshots of these streams in these schema versions, as far as there are any that the
  /// events bear out.
  func snapshots(of streams: [StreamID: Int]) async throws(EventStoreError) -> [StreamID: Snapshot]

  /// Keeps a snapshot, if it is newer than the one that is there.
  func save(_ snapshot: Snapshot) async throws(EventStoreError)

  /// Events after a position, in order, at most `limit`.
  func events(after position: Position, limit: Int) async throws(EventStoreError) -> [RecordedEvent]

  /// A partition's events from a position on, that one included, in order.
  func page(
    of partition: Partition, from position: Position, categories: Set<String>, limit: PageLimit
  ) async throws(EventStoreError) -> PartitionPage

  /// The last position, `start` for an empty store.
  func head() async throws(EventStoreError) -> Position

  /// The last event of every partition, in the partitions' order.
  func heads(of partitioning: Partitioning) async throws(EventStoreError) -> [PartitionHead]

  /// Names this history: a store that was restored to an earlier time gets another.
  func historyID() async throws(EventStoreError) -> UUID
}
