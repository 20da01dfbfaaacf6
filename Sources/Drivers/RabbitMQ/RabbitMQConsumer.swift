internal import EventLoop
public import Logging
internal import Metrics

/// A consumer that survives the loss of its connection: it reconnects with back-off, sets up its queue and continues.
public struct RabbitMQConsumer: Sendable {
  private let configuration: RabbitMQConfiguration
  private let prefetch: UInt16
  private let logger: Logger
  private let upkeepInterval: Duration
  private let setUp: @Sendable (RabbitMQConnection) async throws -> String
  private let upkeep: @Sendable (RabbitMQConnection, String) async throws -> Void

  /// - Parameters:
  ///   - setUp: declares and binds on each new connection, and returns the queue to consume.
  ///   - upkeep: called every `upkeepInterval` with the connection and the queue. It restores bindings that somebody
  ///     may have removed, which the broker does not report.
  public init(
    _ configuration: RabbitMQConfiguration, prefetch: UInt16, logger: Logger, upkeepInterval: Duration = .seconds(5),
    setUp: @escaping @Sendable (RabbitMQConnection) async throws -> String,
    upkeep: @escaping @Sendable (RabbitMQConnection, String) async throws -> Void = { _, _ in }
  ) {
    self.upkeepInterval = upkeepInterval
    self.upkeep = upkeep
    self.configuration = configuration
    self.prefetch = prefetch
    self.logger = logger
    self.setUp = setUp
  }

  /// Consumes until the task is cancelled. Calls `handle` with one delivery at a time and acknowledges it when `handle`
  /// returns. If `handle` throws, the delivery goes back to the queue and the consumer reconnects.
  /// - Parameter isConnected: called with true when consuming begins, and with false when it ends or fails to begin.
  public func run(
    isConnected: @Sendable (Bool) -> Void = { _ in }, _ handle: @Sendable (Delivery) async throws -> Void
  ) async {
    let lost = Counter(label: "rabbitmq_consumer_connections_lost_total")
    var backoff = Backoff(first: .milliseconds(100))
    while !Task.isCancelled {
      do {
        let connection = try await RabbitMQConnection.connect(configuration)
        do {
          let queue = try await setUp(connection)
          let deliveries = try await connection.consume(queue: queue, prefetch: prefetch)
          backoff.reset()
          isConnected(true)
          try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
              while !Task.isCancelled {
                try await Task.sleep(for: upkeepInterval)
                try await upkeep(connection, queue)
              }
            }
            // If the loop throws, the group must cancel and await the upkeep too.
            defer { group.cancelAll() }
            for try await delivery in deliveries {
              try await handle(delivery)
              try await connection.acknowledge(delivery.deliveryTag)
            }
          }
        } catch {
          await connection.close()
          throw error
        }
        await connection.close()
      } catch {
        guard !Task.isCancelled else { break }
        lost.increment()
        logger.warning("cannot consume; trying again", metadata: ["error": "\(error)"])
      }
      isConnected(false)
      try? await Task.sleep(for: backoff.next())
    }
    isConnected(false)
  }
}
