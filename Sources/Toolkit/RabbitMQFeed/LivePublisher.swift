package import EventSourcing
internal import RabbitMQ

/// Sends the messages of the live feed to the processes that listen.
package protocol LivePublisher: Sendable {
  /// Sends messages in order, and returns once the broker has confirmed all of them.
  /// - Returns: how many reached no queue.
  func publish(_ messages: [FeedMessage]) async throws -> Int

  /// Whether the broker takes messages.
  func isReady() async -> Bool

  /// Closes the connection.
  func close() async
}

/// Publishes on RabbitMQ's exchange of the live feed.
struct RabbitMQLivePublisher: LivePublisher {
  private let publisher: RabbitMQPublisher
  private let routingKey: String

  init(_ publisher: RabbitMQPublisher, _ partitioning: Partitioning) {
    (self.publisher, routingKey) = (publisher, LiveFeed.routingKey(partitioning))
  }

  func publish(_ messages: [FeedMessage]) async throws -> Int {
    let confirmations = try await publisher.publish(
      messages.map {
        Message(
          exchange: LiveFeed.exchange.name, routingKey: routingKey, body: $0.encoded, contentType: LiveFeed.contentType,
          isPersistent: false)
      })
    return confirmations.count { $0 != .accepted }
  }

  func isReady() async -> Bool { await publisher.isReady() }
  func close() async { await publisher.close() }
}
