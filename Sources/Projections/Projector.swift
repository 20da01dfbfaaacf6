internal import EventLoop
internal import EventRelay
public import EventSourcing
public import Logging
internal import Metrics
public import Postgres
internal import PostgresEventStore
public import RabbitMQ
public import ServiceLifecycle
internal import Synchronization

/// Keeps read tables up to date: feeds every projection from the live feed and, where that has a hole,
/// from the store.
///
/// One projector is active, by a lease in the read store; others stand by.
public struct Projector: Service {
  public struct Settings: Sendable {
    public var partitioning = Partitioning.standard
    /// Events in one transaction of one projection.
    public var batchSize = 1_000
    /// How often every pair is compared with its partition's head.
    public var headInterval = Duration.seconds(1)
    /// When a partition that stopped at a refused event is tried again.
    public var haltRetry = Duration.seconds(30)
    /// Bytes of deliveries that may wait for one projection.
    public var mailboxSize = 32 * 1024 * 1024
    /// How long a projector that died holds up its successor, at most.
    public var leaseDuration = Duration.seconds(5)
    /// How often the queue is bound again, should somebody have deleted the exchange.
    public var upkeepInterval = Duration.seconds(5)
    /// Deliveries that the broker sends ahead.
    public var prefetch: UInt16 = 200

    public init() {}
  }

  private let projections: [AnyProjection]
  private let readStore: PostgresPool
  private let store: PostgresEventStore
  private let broker: RabbitMQConfiguration
  private let settings: Settings
  private let logger: Logger
  private let lease: Lease
  private let feed = FeedState()
  private let dropped = Counter(label: "projector_deliveries_dropped_total")

  /// - Parameter readStore: a pool with at least a connection per projection and one more.
  public init(
    _ projections: [AnyProjection], readStore: PostgresPool, writeStore: PostgresPool, broker: RabbitMQConfiguration,
    settings: Settings = Settings(), logger: Logger
  ) {
    self.projections = projections
    self.readStore = readStore
    store = PostgresEventStore(writeStore)
    self.broker = broker
    self.settings = settings
    self.logger = logger
    lease = Lease(readStore, table: "projections.leases", name: "projector", duration: settings.leaseDuration)
  }

  public func run() async throws {
    let mailboxes = projections.map { _ in Mailbox(limit: settings.mailboxSize) }
    try await cancelWhenGracefulShutdown {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { await self.receive(mailboxes) }
        group.addTask { try await self.project(mailboxes) }
        // Both go on until they are cancelled; one that fails ends the other.
        defer { group.cancelAll() }
        try await group.next()
      }
    }
    await lease.release()
  }

  /// - Throws: when the live feed is not connected: read tables then follow by reading the store alone.
  public func checkFeed() throws {
    guard feed.isConnected.load(ordering: .relaxed) else { throw FeedDisconnected() }
  }

  /// Runs the projections while the lease is held.
  private func project(_ mailboxes: [Mailbox]) async throws {
    var isStandingBy = false
    while !Task.isCancelled {
      let isHeld = await renew()
      if isHeld == true {
        isStandingBy = false
        logger.info("this projector is active now")
        for mailbox in mailboxes { mailbox.clear() }
        try await lead(mailboxes)
      } else {
        if isHeld == false && !isStandingBy {
          logger.info("another projector is active; standing by")
          isStandingBy = true
        }
        try? await Task.sleep(for: settings.leaseDuration / 3)
      }
    }
  }

  /// Until the lease is lost, a projection finds itself fenced, or the task is cancelled.
  private func lead(_ mailboxes: [Mailbox]) async throws {
    do {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          while !Task.isCancelled, await lease.isHeld {
            try? await Task.sleep(for: settings.leaseDuration / 3)
            _ = await renew()
          }
        }
        for (projection, mailbox) in zip(projections, mailboxes) {
          let runner = ProjectionRunner(
            projection, owner: lease.holder, readStore: readStore, store: store, mailbox: mailbox,
            settings: ProjectionRunner.Settings(
              partitioning: settings.partitioning, batchSize: settings.batchSize, headInterval: settings.headInterval,
              haltRetry: settings.haltRetry),
            isActive: { await lease.isHeld }, logger: logger)
          group.addTask { try await runner.run() }
        }
        // Whichever ends first ends the others.
        defer { group.cancelAll() }
        try await group.next()
      }
      if !Task.isCancelled { logger.warning("the lease is lost") }
    } catch let error as FencedError {
      logger.warning("another projector has taken over", metadata: ["error": "\(error)"])
      try? await Task.sleep(for: settings.leaseDuration)
    }
  }

  /// - Returns: whether the lease is held now; nil when that cannot be asked.
  private func renew() async -> Bool? {
    do {
      return try await lease.acquire()
    } catch {
      logger.error("cannot renew the lease", metadata: ["error": "\(error)"])
      return nil
    }
  }

  /// Hands every delivery to every projection; also while standing by, so that a takeover is quick.
  private func receive(_ mailboxes: [Mailbox]) async {
    let partitions = settings.partitioning.partitions
    let bind: @Sendable (RabbitMQConnection, String) async throws -> Void = { connection, queue in
      try await connection.declare(LiveFeed.exchange)
      for partition in partitions {
        try await connection.bind(
          queue: queue, to: LiveFeed.exchange.name, routingKey: LiveFeed.routingKey(partition))
      }
    }
    let consumer = RabbitMQConsumer(
      broker, prefetch: settings.prefetch, logger: logger, upkeepInterval: settings.upkeepInterval,
      setUp: { connection in
        let queue = try await connection.declare(
          Queue(
            isDurable: false, isExclusive: true, autoDelete: true,
            arguments: ["x-max-length-bytes": 67_108_864, "x-overflow": "drop-head"]))
        try await bind(connection, queue.name)
        return queue.name
      }, upkeep: bind)
    await consumer.run(isConnected: { feed.isConnected.store($0, ordering: .relaxed) }) { delivery in
      do {
        let batch = try FeedBatch(decoding: delivery.body)
        for mailbox in mailboxes where !mailbox.offer(batch) { dropped.increment() }
      } catch {
        logger.error("a delivery cannot be read; the store will be", metadata: ["error": "\(error)"])
        dropped.increment()
      }
    }
  }
}

private final class FeedState: Sendable {
  let isConnected = Atomic(false)
}

/// The live feed is not connected.
struct FeedDisconnected: Error, CustomStringConvertible {
  let description = "the live feed is not connected; the store is read instead"
}
