public import FoundationEssentials

/// One message of the live feed: consecutive events of the store, grouped by partition.
public struct FeedMessage: Sendable, Hashable {
  /// At least one. All have the same history, and each has another partition.
  public let batches: [FeedBatch]

  public init(_ batches: [FeedBatch]) {
    precondition(!batches.isEmpty, "a message has at least one batch")
    self.batches = batches
  }

  public var size: Int { batches.reduce(0) { $0 + $1.size } }
}

/// Consecutive events of one partition.
public struct FeedBatch: Sendable, Hashable {
  /// The partition's last event before this batch.
  public struct Previous: Sendable, Hashable {
    public let position: Position
    /// The event's id; nil if there is no such event. The position is then `start`.
    public let eventID: UUID?

    public init(position: Position, eventID: UUID?) {
      self.position = position
      self.eventID = eventID
    }
  }

  /// The id of the history that the events belong to.
  public let historyID: UUID
  public let partition: Partition
  public let previous: Previous
  /// At least one.
  public let events: [RecordedEvent]

  public init(historyID: UUID, partition: Partition, previous: Previous, events: [RecordedEvent]) {
    precondition(!events.isEmpty, "a batch holds at least one event")
    self.historyID = historyID
    self.partition = partition
    self.previous = previous
    self.events = events
  }

  public var size: Int { events.reduce(0) { $0 + $1.feedSize } }
}

extension RecordedEvent {
  /// The approximate size in a feed message, in bytes.
  package var feedSize: Int { data.count + metadata.count + stream.rawValue.utf8.count + type.utf8.count + 64 }
}
