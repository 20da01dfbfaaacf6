internal import EventLoop
internal import EventRelay
internal import EventSourcing
internal import Logging
internal import Metrics
internal import RabbitMQ
internal import Synchronization

// Takes the live feed.
extension Projector {
  /// - Throws: when the live feed is not connected: read tables then follow by reading the store alone.
  public func checkFeed() throws {
    guard isConnected.value.load(ordering: .relaxed), feed.isBound(to: crew.wanted) else { throw FeedDisconnected() }
  }

  /// Hands every delivery to every lane that wants it.
  func receive() async {
    let partitions = settings.partitioning.partitions
    let bind: @Sendable (RabbitMQConnection, String) async throws -> Void = { [crew, feed] connection, queue in
      try await feed.update(queue, on: connection, partitions, wanted: crew.wanted)
    }
    let consumer = RabbitMQConsumer(
      broker, prefetch: UInt16(clamping: max(1, settings.prefetchSize / FeedBatcher.maximumSize)), logger: logger,
      upkeepInterval: min(settings.upkeepInterval, settings.headInterval),
      setUp: { connection in
        let queue = try await connection.declare(
          Queue(
            isDurable: false, isExclusive: true, autoDelete: true,
            arguments: ["x-max-length-bytes": 67_108_864, "x-overflow": "drop-head"]))
        feed.forget(renewing: settings.upkeepInterval)
        try await bind(connection, queue.name)
        return queue.name
      }, upkeep: bind)
    await consumer.run(isConnected: { isConnected.value.store($0, ordering: .relaxed) }) { delivery in
      do {
        let batch = try FeedBatch(decoding: delivery.body)
        for mailbox in crew.mailboxes where !mailbox.offer(batch) { dropped.increment() }
        bell.ring(every: settings.gatherTime) {
          let mailboxes = crew.mailboxes.filter { $0.open() }
          rounds.expect(mailboxes.map { ObjectIdentifier($0) })
          for mailbox in mailboxes { mailbox.wakeup.signal() }
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
  let description = "the live feed is not connected, or not bound yet; the store is read instead"
}
