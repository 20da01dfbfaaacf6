internal import EventLoop
public import Logging
internal import Metrics

/// A publisher that survives the loss of its connection. It connects on first use and again after a loss, with
/// back-off, and declares `exchanges` on every new connection.
///
/// It does not send a message again. After a loss, the outcome of unconfirmed messages is unknown, and only the caller
/// knows whether a duplicate is harmless.
public actor RabbitMQPublisher {
  private let configuration: RabbitMQConfiguration
  private let exchanges: [Exchange]
  private let logger: Logger
  private var connection: RabbitMQConnection?
  private var connecting: Task<RabbitMQConnection, any Error>?
  private var backoff = Backoff(first: .milliseconds(100))
  private var retryAt = ContinuousClock.now
  private let lost = Counter(label: "rabbitmq_publisher_connections_lost_total")

  public init(_ configuration: RabbitMQConfiguration, exchanges: [Exchange], logger: Logger) {
    self.configuration = configuration
    self.exchanges = exchanges
    self.logger = logger
  }

  /// Publishes and waits for the confirms; see `RabbitMQConnection.publish`.
  public func publish(_ messages: [Message]) async throws -> [PublishOutcome] {
    let connection = try await connected()
    do {
      return try await connection.publish(messages)
    } catch {
      if !connection.isUsable { lose(connection, "\(error)") }
      throw error
    }
  }

  /// Counts and drops a broken connection, once.
  private func lose(_ connection: RabbitMQConnection, _ reason: String) {
    guard self.connection === connection else { return }
    logger.warning("lost the connection to the broker", metadata: ["error": "\(reason)"])
    lost.increment()
    self.connection = nil
  }

  /// Whether the publisher can publish now; connects first if there is no connection.
  public func isReady() async -> Bool {
    guard let connection = try? await connected() else { return false }
    return await connection.canPublish
  }

  public func close() async {
    await connection?.close()
    connection = nil
  }

  /// Returns the connection, and makes one if it is missing. Concurrent callers share the attempt. Until the back-off
  /// has passed, callers fail at once.
  private func connected() async throws -> RabbitMQConnection {
    if let connection {
      if connection.isUsable { return connection }
      lose(connection, "the connection broke while nothing was published")
    }
    if let connecting { return try await connecting.value }
    guard ContinuousClock.now >= retryAt else {
      throw RabbitMQError(.connectionFailed, "the broker was away a moment ago")
    }
    let (configuration, exchanges) = (configuration, exchanges)
    let attempt = Task {
      let connection = try await RabbitMQConnection.connect(configuration)
      for exchange in exchanges { try await connection.declare(exchange) }
      return connection
    }
    connecting = attempt
    defer { connecting = nil }
    do {
      let connection = try await attempt.value
      backoff.reset()
      self.connection = connection
      return connection
    } catch {
      retryAt = .now + backoff.next()
      throw error
    }
  }
}
