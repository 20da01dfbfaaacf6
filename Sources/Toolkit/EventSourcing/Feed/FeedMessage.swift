public import FoundationEssentials

/// One message of the live feed: consecutive events of the store, grouped by partition.
public struct FeedMessage: Sendable, Hashable {
  /// At least one. All have the same history, and each has another partition.
  public let batches: [FeedBatch]

  /// Creates a message.
  /// - Precondition: There is at least one batch.
  public init(_ batches: [FeedBatch]) {
    precondition(!batches.isEmpty, "a message has at least one batch")
    self.batches = batches
  }

  /// The approximate size, in bytes.
  public var size: Int { batches.reduce(0) { $0 + $1.size } }
}

/// Consecutive events of one partition.
public struct FeedBatch: Sendable, Hashable {
  /// The partition's last event before this batch.
  public struct Previous: Sendable, Hashable {
    /// The event's position; `start` if there is no such event.
    public let position: Position
    /// The event's id; nil if there is no such event. The position is then `start`.
    public let eventID: UUID?

    /// Names the last event before a batch.
    /// - Parameters:
    ///   - position: The event's position; `start` if there is no such event.
    ///   - eventID: The event's id; nil if there is no such event.
    public init(position: Position, eventID: UUID?) {
      self.position = position
      self.eventID = eventID
    }
  }

  /// The id of the history that the events belong to.
  public let historyID: UUID
  /// The partition of the events.
  public let partition: Partition
  /// The partition's last event before this batch. A receiver that has not seen it knows that it has missed events.
  public let previous: Previous
  /// At least one.
  public let events: [RecordedEvent]

  /// Creates a batch.
  /// - Precondition: There is at least one event.
  public init(historyID: UUID, partition: Partition, previous: Previous, events: [RecordedEvent]) {
    precondition(!events.isEmpty, "a batch holds at least one event")
    self.historyID = historyID
    self.partition = partition
    self.previous = previous
    self.events = events
  }

  /// The approximate size, in bytes.
  public var size: Int { events.reduce(0) { $0 + $1.feedSize } }
}

extension RecordedEvent {
  /// The approximate size in a feed message, in bytes.
  package var feedSize: Int { data.count + metadata.count + stream.rawValue.utf8.count + type.utf8.count + 64 }
}
