public import FoundationEssentials

/// Events to append in one atomic step, if every guard holds.
public struct AppendBatch: Sendable {
  /// Streams that the decisions read, and the version that each had then; `Version.none` for a stream
  /// that was not there. A stream that is written without being guarded takes the events at any version.
  public var guards: [StreamID: Version]
  /// In the order in which they take their positions. A stream may occur several times.
  public var events: [NewEvent]

  public init(guards: [StreamID: Version], events: [NewEvent]) {
    self.guards = guards
    self.events = events
  }
}

public enum AppendResult: Sendable, Equatable {
  /// Durable. The events have the positions from `first` on, in order; for a batch without events
  /// `first` is the position that the next event will have.
  case appended(first: Position, recordedAt: Timestamp)
  /// Nothing was appended: these streams have other versions than their guards say.
  case conflict(actual: [StreamID: Version])
}

public enum EventStoreError: Error, Sendable, CustomStringConvertible {
  /// The store could not be reached, or refused for now: nothing was appended.
  case unavailable(String)
  /// The connection was lost in the middle: the batch may or may not have been appended, now or soon.
  case outcomeUnknown(String)
  /// The store does not take one of the batch's values, and never will: nothing was appended.
  case refused(String)

  public var description: String {
    switch self {
    case .unavailable(let reason): "the event store is unavailable: \(reason)"
    case .outcomeUnknown(let reason): "the outcome of an append is unknown: \(reason)"
    case .refused(let reason): "the event store refused a value: \(reason)"
    }
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

/// An append-only store of events with dense positions in commit order and optimistic concurrency.
public protocol EventStore: Sendable {
  func append(_ batch: AppendBatch) async throws(EventStoreError) -> AppendResult

  /// A stream's events after a version, in order, at most `limit`.
  func events(in stream: StreamID, after version: Version, limit: Int) async throws(EventStoreError) -> [RecordedEvent]

  /// All events of several streams, each in order; streams that are not there are left out.
  func events(in streams: [StreamID]) async throws(EventStoreError) -> [StreamID: [RecordedEvent]]

  /// Events after a position, in order, at most `limit`.
  func events(after position: Position, limit: Int) async throws(EventStoreError) -> [RecordedEvent]

  /// A partition's events from a position on, that one included, in order, at most `limit`.
  func events(
    in partition: Partition, from position: Position, limit: Int
  ) async throws(EventStoreError) -> [RecordedEvent]

  /// The last position, `start` for an empty store.
  func head() async throws(EventStoreError) -> Position

  /// The last event of every partition, in the partitions' order.
  func heads(of partitioning: Partitioning) async throws(EventStoreError) -> [PartitionHead]

  /// Names this history: a store that was restored to an earlier time gets another.
  func incarnation() async throws(EventStoreError) -> UUID
}
