public import EventSourcing
public import RabbitMQ

/// The exchange on which the relay publishes events for projectors. Nothing on it is durable: projectors read lost
/// events again from the store.
public enum LiveFeed {
  public static let exchange = Exchange("counterflow.live", .direct, isDurable: false)
  public static let contentType = "application/vnd.counterflow.live-feed.v2"

  /// Returns the number of partitions. Every projector with that many partitions receives every message.
  public static func routingKey(_ partitioning: Partitioning) -> String { "\(partitioning.count)" }
}
