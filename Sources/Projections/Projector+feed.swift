internal import EventLoop
internal import EventRelay
internal import Logging
internal import Metrics
internal import RabbitMQ
internal import Synchronization

// Takes the live feed.
extension Projector {
  /// - Throws: when the live feed is not connected: read tables then follow by reading the store alone.
  public func checkFeed() throws {
    guard isConnected.value.load(ordering: .relaxed) else { throw FeedDisconnected() }
  }

  /// Hands every delivery to every lane that wants it.
  func receive() async {
    let routingKey = LiveFeed.routingKey(settings.partitioning)
    // Also now and then: somebody may have deleted the exchange, or unbound the queue.
    let bind: @Sendable (RabbitMQConnection, String) async throws -> Void = { connection, queue in
      try await connection.declare(LiveFeed.exchange)
      try await connection.bind(queue: queue, to: LiveFeed.exchange.name, routingKey: routingKey)
    }
    let consumer = RabbitMQConsumer(
      broker, prefetch: UInt16(clamping: max(1, settings.prefetchSize / FeedBatcher.maximumSize)), logger: logger,
      upkeepInterval: settings.upkeepInterval,
      setUp: { connection in
        let queue = try await connection.declare(
          Queue(
            isDurable: false, isExclusive: true, autoDelete: true,
            arguments: ["x-max-length-bytes": 67_108_864, "x-overflow": "drop-head"]))
        try await bind(connection, queue.name)
        return queue.name
      }, upkeep: bind)
    await consumer.run(isConnected: { isConnected.value.store($0, ordering: .relaxed) }) { delivery in
      do {
        let wanted = crew.wanted
        guard let message = try FeedMessage.decode(delivery.body, where: wanted.contains) else { return }
        let mailboxes = crew.mailboxes.filter { $0.wants(message) }
        // What they make of one message is written in one round.
        rounds.expect(mailboxes.map { ObjectIdentifier($0) })
        for mailbox in mailboxes {
          dropped.increment(by: mailbox.offer(message))
          mailbox.wakeup.signal()
        }
      } catch {
        logger.error("a delivery cannot be read; the store will be", metadata: ["error": "\(error)"])
        dropped.increment()
      }
    }
  }
}

final class Flag: Sendable {
  let value = Atomic(false)
}

/// The live feed is not connected.
struct FeedDisconnected: Error, CustomStringConvertible {
  let description = "the live feed is not connected; the store is read instead"
}
