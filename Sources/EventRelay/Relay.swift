internal import EventLoop
public import EventSourcing
internal import Failures
internal import FoundationEssentials
public import Logging
internal import Metrics
public import Postgres
internal import PostgresEventStore
public import RabbitMQ
public import ServiceLifecycle
internal import Synchronization
internal import Tracing

/// Publishes appended events, in order and with confirms, on the live feed.
///
/// One relay is active, by a lease in the write store; others stand by. It starts at the store's head:
/// what came before, and what a relay that died did not publish, projectors read from the store. A
/// stale leader causes duplicates, which they drop, or speaks of an older history, which they check.
public struct Relay: Service {
  public struct Settings: Sendable {
    public var partitioning = Partitioning.standard
    /// Events read from the store at a time.
    public var readSize = 1_000
    /// How often the store is looked at without a notification.
    public var pollInterval = Duration.milliseconds(500)
    /// How long after the beginning of a round the next one begins, at least: what is appended meanwhile goes in one. The
    /// first event after a pause goes at once.
    public var gatherTime = Duration.milliseconds(8)
    /// How long a relay that died holds up its successor, at most.
    public var leaseDuration = Duration.seconds(5)
    /// How often the store's incarnation is looked at, and that its head is not behind what was read.
    public var historyCheckInterval = Duration.seconds(1)
    /// Events behind the head beyond which the live feed jumps to it.
    public var jumpDistance = 50_000
    /// The CloudEvents source of the integration feed, a URI reference.
    public var source = "/counterflow"

    public init() {}
  }

  private let pool: PostgresPool
  private let store: PostgresEventStore
  private let lease: Lease
  private let listener: NotificationListener
  private let publisher: RabbitMQPublisher
  private let integration: IntegrationPublisher?
  private let integrationWakeup = Wakeup()
  private let settings: Settings
  private let logger: Logger
  private let wakeup = Wakeup()
  /// The last position that the store has notified of since it was looked at.
  private let notified = Latest()
  private let tail = FeedTail()
  private let delivery = DeliveryState()
  private let metrics = RelayMetrics()
  private let spans = EventSpans()
  private let published = FeedProgress()
  private let integrated = FeedProgress()

  /// - Parameters:
  ///   - pool: on the write store, of at least three connections.
  ///   - publisher: for the live feed.
  ///   - integration: for the integration feed; nil for none. Another one, so that neither feed holds up the other.
  public init(
    _ pool: PostgresPool, _ publisher: RabbitMQPublisher, integration: RabbitMQPublisher? = nil,
    settings: Settings = Settings(), logger: Logger
  ) {
    self.pool = pool
    store = PostgresEventStore(pool)
    lease = Lease(pool, table: "event_store.leases", name: "relay", duration: settings.leaseDuration)
    listener = NotificationListener(pool.configuration, channels: [PostgresEventStore.channel], logger: logger)
    self.publisher = publisher
    self.integration = integration.map { [tail, integrated] in
      IntegrationPublisher(
        pool: pool, store: PostgresEventStore(pool), publisher: $0, source: settings.source,
        readSize: settings.readSize, pollInterval: settings.pollInterval, tail: tail, progress: integrated,
        logger: logger)
    }
    self.settings = settings
    self.logger = logger
  }

  public func run() async throws {
    await cancelWhenGracefulShutdown {
      await withTaskGroup(of: Void.self) { group in
        group.addTask {
          await self.listener.run { notification in
            // Without one, anything may have been appended.
            self.notified.raise(to: notification.map { Int64($0.payload) ?? .max } ?? .max)
            self.wakeup.signal()
          }
        }
        if let integration {
          group.addTask { await integration.run(self.integrationWakeup) { await self.lease.isHeld } }
        }
        group.addTask { await self.holdLease() }
        group.addTask { await self.relay() }
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
          wakeup.signal()
          integrationWakeup.signal()
        }
        wasHeld = isHeld
      } catch {
        logger.error("cannot renew the lease", metadata: ["error": "\(error)"])
      }
      let isActive = await lease.isHeld
      metrics.active.record(isActive ? 1 : 0)
      await recordLag(isActive)
      try? await Task.sleep(for: settings.leaseDuration / 3)
    }
  }

  /// How far each feed is behind the head: 0 for a relay that stands by.
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
    } catch { logger.warning("cannot tell how far the feeds are behind", metadata: ["error": "\(error)"]) }
  }

  private func relay() async {
    var backoff = Backoff(first: .milliseconds(100))
    while !Task.isCancelled {
      guard await lease.isHeld else {
        await wakeup.wait(upTo: settings.pollInterval)
        continue
      }
      do {
        try await lead { backoff.reset() }
      } catch {
        guard !Task.isCancelled else { return }
        metrics.failures.increment()
        // Whatever it is, nothing is left out: the feed begins again at the head, and projectors read what it lacks.
        logger.log(
          level: FailureKind(error).needsAPerson ? .critical : .error, "the live feed is interrupted; trying again",
          metadata: ["error": "\(error)"])
        try? await Task.sleep(for: backoff.next())
      }
    }
  }

  /// Publishes from the head on until the lease is lost, the store's history changes, or something fails.
  private func lead(onProgress: () -> Void) async throws {
    let incarnation = try await store.incarnation()
    var cursor = try await store.head()
    // After an interruption what was published last stays known until something is published again.
    if published.position == nil { published.move(to: cursor) }
    var batcher = FeedBatcher(
      incarnation: incarnation, partitioning: settings.partitioning,
      heads: try await store.heads(of: settings.partitioning))
    var nextCheck = ContinuousClock.now + settings.historyCheckInterval
    while await lease.isHeld, !Task.isCancelled {
      if ContinuousClock.now >= nextCheck {
        let (now, head) = (try await store.incarnation(), try await store.head())
        guard now == incarnation, head >= cursor else {
          logger.error("the store's history has changed; starting again at its head", metadata: ["head": "\(head)"])
          return
        }
        nextCheck = .now + settings.historyCheckInterval
        try await record(cursor, incarnation)
      }
      notified.reset()
      let begun = ContinuousClock.now
      let events = try await store.events(after: cursor, limit: settings.readSize)
      guard let last = events.last else {
        // Nothing is owed to anybody, if only the broker is there.
        if published.position ?? -1 < cursor.rawValue, await publisher.isReady() { published.move(to: cursor) }
        await waitForMore(than: cursor)
        continue
      }
      if integration != nil {
        tail.add(events, in: incarnation)
        integrationWakeup.signal()
      }
      try await publish(batcher.messages(of: events))
      cursor = last.position
      metrics.position.record(cursor.rawValue)
      published.move(to: cursor)
      onProgress()
      if events.count < settings.readSize {
        await waitForMore(than: cursor)
        let next = begun + settings.gatherTime
        if ContinuousClock.now < next { try? await Task.sleep(until: next, clock: .continuous) }
      } else if try await store.head().rawValue - cursor.rawValue > settings.jumpDistance {
        logger.warning("far behind; the live feed jumps to the head", metadata: ["position": "\(cursor)"])
        return
      }
    }
  }

  /// Waits until the store has notified of something later, for `pollInterval` at most.
  private func waitForMore(than position: Position) async {
    let end = ContinuousClock.now + settings.pollInterval
    while notified.value <= position.rawValue, ContinuousClock.now < end, !Task.isCancelled {
      await wakeup.wait(upTo: end - .now)
    }
  }

  /// For people and alarms to see: nothing begins there.
  private func record(_ position: Position, _ incarnation: UUID) async throws {
    guard position > .start, let last = try await store.events(after: Position(position.rawValue - 1), limit: 1).first
    else { return }
    try await pool.query(
      """
      insert into event_store.cursors (name, incarnation, position, event_id)
      values ('live', \(incarnation), \(position.rawValue), \(last.id))
      on conflict (name) do update set incarnation = excluded.incarnation, position = excluded.position,
        event_id = excluded.event_id, updated_at = clock_timestamp()
      """)
  }

  private func publish(_ messages: [FeedMessage]) async throws {
    let (start, begun) = (ContinuousClock.now, DefaultTracerClock.now)
    let confirmations = try await publisher.publish(
      messages.map {
        Message(
          exchange: LiveFeed.exchange.name, routingKey: LiveFeed.routingKey(settings.partitioning), body: $0.encoded,
          contentType: LiveFeed.contentType, isPersistent: false)
      })
    metrics.confirms.record(duration: ContinuousClock.now - start)
    spans.record(
      "publish", messages.lazy.flatMap(\.batches).flatMap(\.events), kind: .producer, since: begun,
      attributes: ["messaging.system": "rabbitmq", "messaging.destination.name": LiveFeed.exchange.name])
    metrics.events.increment(by: messages.reduce(0) { $0 + $1.batches.reduce(0) { $0 + $1.events.count } })
    // Projectors read from the store what reached no queue, so that it is counted and not sent again.
    let lost = confirmations.count { $0 != .accepted }
    if await delivery.changes(to: lost == 0) {
      lost == 0
        ? logger.info("projectors take deliveries again")
        : logger.warning("deliveries reach no projector; the store is read instead", metadata: ["messages": "\(lost)"])
    }
    metrics.undelivered.increment(by: lost)
  }
}

/// Whether the last messages reached a queue: each change is logged once.
private actor DeliveryState {
  private var isFlowing = true

  func changes(to isFlowing: Bool) -> Bool {
    defer { self.isFlowing = isFlowing }
    return self.isFlowing != isFlowing
  }
}

/// Up to where a feed is published.
final class FeedProgress: Sendable {
  private let last = Atomic<Int64>(-1)

  /// nil before it has begun.
  var position: Int64? {
    let position = last.load(ordering: .relaxed)
    return position < 0 ? nil : position
  }

  func move(to position: Position) { last.store(position.rawValue, ordering: .relaxed) }
}

/// The latest of what several tell.
private final class Latest: Sendable {
  private let latest = Atomic<Int64>(0)

  var value: Int64 { latest.load(ordering: .acquiring) }
  func raise(to value: Int64) { latest.max(value, ordering: .releasing) }
  func reset() { latest.store(0, ordering: .sequentiallyConsistent) }
}

private struct RelayMetrics {
  let events = Counter(label: "relay_events_published_total")
  let undelivered = Counter(label: "relay_messages_undelivered_total")
  let failures = Counter(label: "relay_failures_total")
  let position = Gauge(label: "relay_position")
  let active = Gauge(label: "relay_active")
  let lag = Gauge(label: "relay_lag_positions")
  let integrationLag = Gauge(label: "integration_lag_positions")
  /// From sending messages to the broker's confirms of all of them.
  let confirms = Metrics.Timer(label: "relay_confirm_seconds")
}
