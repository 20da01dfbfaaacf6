package import EventSourcing
package import Logging
package import RabbitMQ

/// The live feed through RabbitMQ: the relay reads the write store once for any number of processes.
package struct RabbitMQFeed: EventFeed {
  private let broker: RabbitMQConfiguration
  /// The most bytes of unacknowledged messages, if every message has the largest size.
  private static let prefetchSize = 16 * 1024 * 1024

  private let upkeepInterval: Duration
  private let logger: Logger

  /// - Parameter upkeepInterval: how often the queue is bound again, in case the exchange was deleted.
  package init(_ broker: RabbitMQConfiguration, upkeepInterval: Duration = .seconds(5), logger: Logger) {
    self.broker = broker
    self.upkeepInterval = upkeepInterval
    self.logger = logger
  }

  package func run(_ partitioning: Partitioning, to receiver: some FeedReceiver) async {
    let routingKey = LiveFeed.routingKey(partitioning)
    let bind: @Sendable (RabbitMQConnection, String) async throws -> Void = { connection, queue in
      try await connection.declare(LiveFeed.exchange)
      try await connection.bind(queue: queue, to: LiveFeed.exchange.name, routingKey: routingKey)
    }
    let consumer = RabbitMQConsumer(
      broker, prefetch: UInt16(clamping: max(1, Self.prefetchSize / FeedBatcher.maximumSize)), logger: logger,
      upkeepInterval: upkeepInterval,
      setUp: { connection in
        let queue = try await connection.declare(
          Queue(
            isDurable: false, isExclusive: true, autoDelete: true,
            arguments: ["x-max-length-bytes": 67_108_864, "x-overflow": "drop-head"]))
        try await bind(connection, queue.name)
        return queue.name
      }, upkeep: bind)
    await consumer.run(isConnected: { receiver.connectionChanged(isConnected: $0) }) { delivery in
      do {
        let wanted = receiver.wantedPartitions
        guard let message = try FeedMessage.decode(delivery.body, where: wanted.contains) else { return }
        receiver.receive(message)
      } catch { receiver.lost(error) }
    }
  }
}
