internal import EventLoop
package import EventSourcing
package import FoundationEssentials
package import Logging
internal import Machine
internal import Metrics
package import Postgres
package import PostgresEventStore
package import RabbitMQ
internal import ServiceLifecycle
internal import Synchronization
internal import Tracing

/// Publishes appended events on the live feed, in order and with confirms.
///
/// One relay is active, by a lease in the write store; the others stand by. It starts at the store's head. Projectors
/// read earlier events from the store, and those that a crashed relay did not publish. A relay that has lost its lease
/// unnoticed sends duplicates, which projectors drop, or events of an older history, which projectors detect.
package struct Relay: Service {
  package struct Settings: Sendable {
    package var partitioning = Partitioning.standard
    package var following = StoreFollower.Settings()
    /// The longest time for which a crashed relay delays its successor.
    package var leaseDuration = Duration.seconds(5)
    /// The CloudEvents source of the integration feed, a URI reference.
    package var source = "/counterflow"

    package init() {}
  }

  /// Saves the position of an event of this id and history.
  package typealias Saving = @Sendable (Position, _ eventID: UUID, _ historyID: UUID) async throws -> Void

  private let store: any EventLog
  private let lease: Lease
  private let follower: StoreFollower
  private let publisher: any LivePublisher
  private let save: Saving
  private let integration: IntegrationPublisher?
  private let integrationWakeup = Wakeup()
  private let settings: Settings
  private let logger: Logger
  private let tail: FeedTail
  private let delivery = DeliveryState()
  private let metrics = RelayMetrics()
  private let spans = EventSpans()
  private let published = FeedProgress()
  private let integrated: FeedProgress

  /// - Parameters:
  ///   - pool: a pool on the write store, of at least three connections.
  ///   - publisher: publishes the live feed.
  ///   - integration: publishes the integration feed; nil turns it off. It is a separate publisher, so that neither
  ///     feed delays the other.
  package init(
    _ pool: PostgresPool, _ publisher: RabbitMQPublisher, integration: RabbitMQPublisher? = nil,
    settings: Settings = Settings(), logger: Logger
  ) {
    let (tail, integrated) = (FeedTail(), FeedProgress())
    self.init(
      PostgresEventStore(pool), RabbitMQLivePublisher(publisher, settings.partitioning),
      StoreFollower(pool, [settings.partitioning], settings.following, logger: logger),
      leases: PostgresLeases(pool, table: "event_store.leases"),
      integration: integration.map {
        IntegrationPublisher(
          pool: pool, store: PostgresEventStore(pool), publisher: $0, source: settings.source,
          readSize: settings.following.readSize, pollInterval: settings.following.pollInterval, tail: tail,
          progress: integrated,
          logger: logger)
      }, tail, integrated, settings: settings, logger: logger
    ) { position, eventID, historyID in
      try await pool.query(
        """
        insert into event_store.cursors (name, history_id, position, event_id)
        values ('live', \(historyID), \(position.rawValue), \(eventID))
        on conflict (name) do update set history_id = excluded.history_id, position = excluded.position,
          event_id = excluded.event_id, updated_at = clock_timestamp()
        """)
    }
  }

  /// A relay without an integration feed.
  /// - Parameters:
  ///   - follower: reads the store for the feed's partitioning.
  ///   - leases: one relay of all that share them is active.
  ///   - save: keeps the position for operators. No feed starts from it.
  package init(
    _ store: any EventLog, _ publisher: any LivePublisher, _ follower: StoreFollower, leases: any LeaseTable,
    settings: Settings, logger: Logger, save: @escaping Saving
  ) {
    self.init(
      store, publisher, follower, leases: leases, integration: nil, FeedTail(), FeedProgress(), settings: settings,
      logger: logger, save: save)
  }

  private init(
    _ store: any EventLog, _ publisher: any LivePublisher, _ follower: StoreFollower, leases: any LeaseTable,
    integration: IntegrationPublisher?, _ tail: FeedTail, _ integrated: FeedProgress, settings: Settings,
    logger: Logger, save: @escaping Saving
  ) {
    lease = Lease(leases, name: "relay", duration: settings.leaseDuration)
    (self.store, self.publisher, self.follower, self.save) = (store, publisher, follower, save)
    (self.integration, self.tail, self.integrated) = (integration, tail, integrated)
    (self.settings, self.logger) = (settings, logger)
  }

  package func run() async throws {
    await cancelWhenGracefulShutdown {
      await withTaskGroup(of: Void.self) { group in
        if let integration {
          group.addTask { await integration.run(self.integrationWakeup) { await self.lease.isHeld } }
        }
        group.addTask { await self.holdLease() }
        group.addTask { await self.follower.run(Sink(relay: self)) }
      }
    }
    await lease.release()
    await publisher.close()
    await integration?.publisher.close()
  }

  private func holdLease() async {
    var wasHeld: Bool?
    while !Task.isCancelled {
      do {
        let isHeld = try await lease.acquire()
        if isHeld != wasHeld {
          logger.info(isHeld ? "this relay is active now" : "another relay is active; standing by")
          follower.wake()
          integrationWakeup.signal()
        }
        wasHeld = isHeld
      } catch {
        logger.error("cannot renew the lease", metadata: ["error": "\(error)"])
      }
      let isActive = await lease.isHeld
      metrics.active.record(isActive ? 1 : 0)
      await recordLag(isActive)
      try? await Machine.sleep(for: settings.leaseDuration / 3)
    }
  }

  /// Records how many positions each feed is behind the head; 0 while another relay is active.
  private func recordLag(_ isActive: Bool) async {
    guard isActive else {
      metrics.lag.record(0)
      metrics.integrationLag.record(0)
      return
    }
    do {
      let head = try await store.head().rawValue
      if let position = published.position { metrics.lag.record(max(0, head - position)) }
      if let position = integrated.position { metrics.integrationLag.record(max(0, head - position)) }
    } catch { logger.warning("cannot measure the lag of the feeds", metadata: ["error": "\(error)"]) }
  }

  private struct Sink: StoreSink {
    let relay: Relay

    var isActive: Bool { get async { await relay.lease.isHeld } }

    func begins(at head: Position) {
      // After an interruption, the position published last stays until the next publish.
      if relay.published.position == nil { relay.published.move(to: head) }
    }

    func take(_ events: [RecordedEvent], as messages: [[FeedMessage]], in historyID: UUID) async throws {
      if relay.integration != nil {
        relay.tail.add(events, in: historyID)
        relay.integrationWakeup.signal()
      }
      try await relay.publish(messages[0])
      guard let last = events.last else { return }
      relay.metrics.position.record(last.position.rawValue)
      relay.published.move(to: last.position)
    }

    func isIdle(at position: Position) async {
      // All events are published. The feed is up to date if the broker is ready.
      guard relay.published.position ?? -1 < position.rawValue, await relay.publisher.isReady() else { return }
      relay.published.move(to: position)
    }

    func stands(at position: Position, in historyID: UUID) async throws {
      try await relay.record(position, historyID)
    }

    func failed() { relay.metrics.failures.increment() }
  }

  /// Saves the position for operators and alerts. No feed starts from it.
  private func record(_ position: Position, _ historyID: UUID) async throws {
    guard position > .start, let last = try await store.events(after: Position(position.rawValue - 1), limit: 1).first
    else { return }
    try await save(position, last.id, historyID)
  }

  private func publish(_ messages: [FeedMessage]) async throws {
    let (start, begun) = (Machine.now, DefaultTracerClock.now)
    let lost = try await publisher.publish(messages)
    metrics.confirms.record(duration: Machine.now - start)
    spans.record(
      "publish", messages.lazy.flatMap(\.batches).flatMap(\.events), kind: .producer, since: begun,
      attributes: ["messaging.system": "rabbitmq", "messaging.destination.name": LiveFeed.exchange.name])
    metrics.events.increment(by: messages.reduce(0) { $0 + $1.batches.reduce(0) { $0 + $1.events.count } })
    // Messages that reached no queue are counted and not sent again: projectors read their events from the store.
    if await delivery.changes(to: lost == 0) {
      lost == 0
        ? logger.info("projectors receive deliveries again")
        : logger.warning(
          "no projector receives deliveries; projectors read the store instead", metadata: ["messages": "\(lost)"])
    }
    metrics.undelivered.increment(by: lost)
  }
}

/// Whether the last messages reached a queue. Each change is logged once.
private actor DeliveryState {
  private var isFlowing = true

  func changes(to isFlowing: Bool) -> Bool {
    defer { self.isFlowing = isFlowing }
    return self.isFlowing != isFlowing
  }
}

/// The position up to which a feed is published.
final class FeedProgress: Sendable {
  private let last = Atomic<Int64>(-1)

  /// nil before the feed has started.
  var position: Int64? {
    let position = last.load(ordering: .relaxed)
    return position < 0 ? nil : position
  }

  func move(to position: Position) { last.store(position.rawValue, ordering: .relaxed) }
}

private struct RelayMetrics {
  let events = Counter(label: "relay_events_published_total")
  let undelivered = Counter(label: "relay_messages_undelivered_total")
  let failures = Counter(label: "relay_failures_total")
  let position = Gauge(label: "relay_position")
  let active = Gauge(label: "relay_active")
  let lag = Gauge(label: "relay_lag_positions")
  let integrationLag = Gauge(label: "integration_lag_positions")
  /// The time from sending messages until the broker has confirmed all of them.
  let confirms = Metrics.Timer(label: "relay_confirm_seconds")
}
