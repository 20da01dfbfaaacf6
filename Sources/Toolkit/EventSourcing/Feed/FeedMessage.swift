package import FoundationEssentials

/// One message of the live feed: consecutive events of the store, grouped by partition.
package struct FeedMessage: Sendable, Hashable {
  /// At least one. All have the same history, and each has another partition.
  package let batches: [FeedBatch]

  /// Creates a message.
  /// - Precondition: There is at least one batch.
  package init(_ batches: [FeedBatch]) {
    precondition(!batches.isEmpty, "a message has at least one batch")
    self.batches = batches
  }

  /// The approximate size, in bytes.
  package var size: Int { batches.reduce(0) { $0 + $1.size } }
}

/// Consecutive events of one partition.
package struct FeedBatch: Sendable, Hashable {
  /// The partition's last event before this batch.
  package struct Previous: Sendable, Hashable {
    /// The event's position; `start` if there is no such event.
    package let position: Position
    /// The event's id; nil if there is no such event. The position is then `start`.
    package let eventID: UUID?

    /// Names the last event before a batch.
    /// - Parameters:
    ///   - position: The event's position; `start` if there is no such event.
    ///   - eventID: The event's id; nil if there is no such event.
    package init(position: Position, eventID: UUID?) {
      self.position = position
      self.eventID = eventID
    }
  }

  /// The id of the history that the events belong to.
  package let historyID: UUID
  /// The partition of the events.
  package let partition: Partition
  /// The partition's last event before this batch. A receiver that has not seen it knows that it has missed events.
  package let previous: Previous
  /// At least one.
  package let events: [RecordedEvent]

  /// Creates a batch.
  /// - Precondition: There is at least one event.
  package init(historyID: UUID, partition: Partition, previous: Previous, events: [RecordedEvent]) {
    precondition(!events.isEmpty, "a batch holds at least one event")
    self.historyID = historyID
    self.partition = partition
    self.previous = previous
    self.events = events
  }

  /// The approximate size, in bytes.
  package var size: Int { events.reduce(0) { $0 + $1.feedSize } }
}

extension RecordedEvent {
  /// The approximate size in a feed message, in bytes.
  package var feedSize: Int { data.count + metadata.count + stream.rawValue.utf8.count + type.utf8.count + 64 }
}
