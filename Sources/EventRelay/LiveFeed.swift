public import EventSourcing
public import FoundationEssentials
public import RabbitMQ

/// The exchange on which the relay publishes for projectors. Nothing on it is durable: what is lost is
/// read again from the store.
public enum LiveFeed {
  public static let exchange = Exchange("counterflow.live", .direct, isDurable: false)
  public static let contentType = "application/vnd.counterflow.live-feed.v1"

  public static func routingKey(_ partition: Partition) -> String {
    "\(partition.partitioning.count).\(partition.index)"
  }
}

/// Consecutive events of one partition: what one message of the live feed carries.
public struct FeedBatch: Sendable, Hashable {
  /// The partition's last event before these.
  public struct Previous: Sendable, Hashable {
    public let position: Position
    /// nil when there is none, and the position is `start`.
    public let eventID: UUID?

    public init(position: Position, eventID: UUID?) {
      self.position = position
      self.eventID = eventID
    }
  }

  /// Which history the events belong to.
  public let incarnation: UUID
  public let partition: Partition
  public let previous: Previous
  /// At least one.
  public let events: [RecordedEvent]

  public init(incarnation: UUID, partition: Partition, previous: Previous, events: [RecordedEvent]) {
    precondition(!events.isEmpty, "a batch holds at least one event")
    self.incarnation = incarnation
    self.partition = partition
    self.previous = previous
    self.events = events
  }

  public var size: Int { events.reduce(0) { $0 + $1.feedSize } }
}

extension RecordedEvent {
  /// Bytes in a feed message, to within a few.
  var feedSize: Int { data.count + metadata.count + stream.rawValue.utf8.count + type.utf8.count + 64 }
}
