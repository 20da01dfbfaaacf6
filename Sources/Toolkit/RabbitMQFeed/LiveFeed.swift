package import EventSourcing
package import RabbitMQ

/// The exchange on which the relay publishes events for projectors. Nothing on it is durable: projectors read lost
/// events again from the store.
package enum LiveFeed {
  package static let exchange = Exchange("counterflow.live", .direct, isDurable: false)
  package static let contentType = "application/vnd.counterflow.live-feed.v2"

  /// Returns the number of partitions. Every projector with that many partitions receives every message.
  package static func routingKey(_ partitioning: Partitioning) -> String { "\(partitioning.count)" }
}
