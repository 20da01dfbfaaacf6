internal import EventLoop
internal import EventSourcing
internal import Failures
internal import FoundationEssentials
internal import Logging
internal import Machine
internal import Metrics
internal import Postgres
internal import PostgresEventStore
internal import RabbitMQ

/// Publishes every event on the integration feed, in order and at least once. The cursor moves only on confirms, and is
/// saved from time to time.
///
/// A queue that refuses messages delays this feed and no other. An event that no queue is bound for is lost, as with
/// any topic exchange.
struct IntegrationPublisher: Sendable {
  private static let name = "integration"

  let pool: PostgresPool
  let store: PostgresEventStore
  let publisher: RabbitMQPublisher
  let source: String
  let readSize: Int
  let pollInterval: Duration
  let tail: FeedTail
  let progress: FeedProgress
  let logger: Logger
  private let metrics = IntegrationMetrics()

  init(
    pool: PostgresPool, store: PostgresEventStore, publisher: RabbitMQPublisher, source: String, readSize: Int,
    pollInterval: Duration, tail: FeedTail, progress: FeedProgress, logger: Logger
  ) {
    self.pool = pool
    self.store = store
    self.publisher = publisher
    self.source = source
    self.readSize = readSize
    self.pollInterval = pollInterval
    self.tail = tail
    self.progress = progress
    self.logger = logger
  }

  /// How often the cursor is saved while it moves. After a crash, events since then are published again; consumers must
  /// expect repeats.
  private static let saveInterval = Duration.milliseconds(250)
  /// How often the publisher looks for a queue while none is bound.
  private static let probeInterval = Duration.milliseconds(500)

  private struct Cursor: Sendable {
    let historyID: UUID
    var position: Position
    var eventID: UUID?
    /// The position that the store has.
    var saved: Position
    var saveAt = Machine.now

    init(_ historyID: UUID, _ position: Position, _ eventID: UUID?) {
      (self.historyID, self.position, self.eventID, saved) = (historyID, position, eventID, position)
    }

    var isAhead: Bool { saved != position }
  }

  private struct Refused: ClassifiedError, CustomStringConvertible {
    /// The queue accepts messages again after it has been emptied.
    let failureKind = FailureKind.retry
    let position: Position
    var description: String { "a queue refuses the event at position \(position); the integration feed waits" }
  }

  private struct Overtaken: ClassifiedError, CustomStringConvertible {
    let failureKind = FailureKind.retry
    let description = "another relay has moved the integration feed's cursor, or the store was restored"
  }

  func run(_ wakeup: Wakeup, while isActive: @Sendable () async -> Bool) async {
    var backoff = Backoff(first: .milliseconds(200), limit: .seconds(15))
    while !Task.isCancelled {
      guard await isActive() else {
        await wakeup.wait(upTo: pollInterval)
        continue
      }
      do {
        try await publish(wakeup, while: isActive) { backoff.reset() }
      } catch {
        guard !Task.isCancelled else { return }
        metrics.failures.increment()
        // Whatever the error is, no event is skipped: the feed continues at its cursor.
        logger.log(
          level: FailureKind(error).needsAPerson ? .critical : .error,
          "the integration feed is interrupted; trying again", metadata: ["error": "\(error)"])
        try? await Machine.sleep(for: backoff.next())
      }
    }
  }

  private func publish(
    _ wakeup: Wakeup, while isActive: @Sendable () async -> Bool, onProgress: () -> Void
  ) async throws {
    var cursor = try await resume()
    progress.move(to: cursor.position)
    do {
      try await follow(&cursor, wakeup, while: isActive, onProgress)
    } catch {
      // Best effort: confirmed events after the saved cursor are published again.
      do { try await save(&cursor) } catch {
        logger.warning(
          "cannot save the cursor of the integration feed; some events will be published again",
          metadata: ["error": "\(error)"])
      }
      throw error
    }
    try await save(&cursor)
  }

  private func follow(
    _ cursor: inout Cursor, _ wakeup: Wakeup, while isActive: @Sendable () async -> Bool, _ onProgress: () -> Void
  ) async throws {
    var ahead: [RecordedEvent] = []
    var nextLook = Machine.now
    var nextProbe = nextLook
    var isWanted = true
    while await isActive(), !Task.isCancelled {
      if cursor.isAhead, Machine.now >= cursor.saveAt { try await save(&cursor) }
      var events = ahead.isEmpty ? tail.events(after: cursor.position, in: cursor.historyID, limit: readSize) : ahead
      ahead = []
      if events.isEmpty, Machine.now >= nextLook {
        events = try await store.events(after: cursor.position, limit: readSize)
        nextLook = Machine.now + pollInterval
        if events.isEmpty {
          // An idle feed detects another history here.
          try await save(&cursor)
          cursor = try await resume()
        }
      }
      let isFull = events.count >= readSize
      guard let last = events.last, isWanted || isFull || Machine.now >= nextProbe else {
        let due = events.isEmpty ? nextLook : nextProbe
        let next = cursor.isAhead ? min(due, cursor.saveAt) : due
        if events.isEmpty {
          await wakeup.wait(upTo: next - Machine.now)
        } else {
          try? await Machine.sleep(until: next)
        }
        continue
      }
      // While the feed is behind, read the next events during the wait for confirms.
      async let following = isFull ? store.events(after: last.position, limit: readSize) : []
      if !isWanted {
        nextProbe = Machine.now + Self.probeInterval
        isWanted = try await isAnyWanted(events, cursor)
        if isWanted { logger.notice("a queue receives the integration feed", metadata: ["from": "\(cursor.position)"]) }
      }
      if !isWanted {
        move(&cursor, to: last)
        metrics.unwanted.increment(by: events.count)
        onProgress()
        ahead = try await following
        continue
      }
      let outcomes = try await publisher.publish(messages(events, cursor))
      isWanted = outcomes.contains { if case .returned = $0 { false } else { true } }
      if !isWanted {
        nextProbe = Machine.now + Self.probeInterval
        logger.notice(
          "no queue receives the integration feed; events that are appended now are not published on it",
          metadata: ["from": "\(cursor.position)"])
      }
      let taken = outcomes.firstIndex(of: .refused) ?? outcomes.count
      if taken > 0 {
        move(&cursor, to: events[taken - 1])
        let unwanted = outcomes[..<taken].count { $0 != .accepted }
        metrics.published.increment(by: taken - unwanted)
        metrics.unwanted.increment(by: unwanted)
        onProgress()
      }
      guard taken == outcomes.count else {
        metrics.refused.increment(by: outcomes.count { $0 == .refused })
        throw Refused(position: events[taken].position)
      }
      ahead = try await following
    }
  }

  private func messages(_ events: some Collection<RecordedEvent>, _ cursor: Cursor) -> [Message] {
    events.map { IntegrationFeed.message($0, historyID: cursor.historyID, source: source) }
  }

  /// Publishes one event of each routing key instead of all, to find out whether a queue is bound by now. A queue that
  /// is bound during this gets the whole batch, or everything from the next batch on.
  private func isAnyWanted(_ events: [RecordedEvent], _ cursor: Cursor) async throws -> Bool {
    var kinds: Set<String> = []
    let firsts = events.filter { kinds.insert(IntegrationFeed.routingKey($0)).inserted }
    return try await publisher.publish(messages(firsts, cursor)).contains {
      if case .returned = $0 { false } else { true }
    }
  }

  /// Returns where to continue. After a restore, that is where the new history began. Consumers know the events of the
  /// lost time by their history id.
  private func resume() async throws -> Cursor {
    let rows = try await pool.query(
      """
      select i.history_id, i.restored_position, c.history_id, c.position, c.event_id
      from event_store.identity i left join event_store.cursors c on c.name = \(Self.name)
      """
    ).decode((UUID, Int64?, UUID?, Int64?, UUID?).self)
    let (historyID, restored, known, position, eventID) = rows[0]
    guard let known, let position else {
      try await pool.query(
        """
        insert into event_store.cursors (name, history_id, position) values (\(Self.name), \(historyID), 0)
        on conflict do nothing
        """)
      return Cursor(historyID, .start, nil)
    }
    if known == historyID { return Cursor(historyID, Position(position), eventID) }
    let start = Position(min(position, restored ?? 0))
    let event = start > .start ? try await store.events(after: Position(start.rawValue - 1), limit: 1).first : nil
    logger.critical(
      "the write store was restored; the integration feed continues with the new history id",
      metadata: ["from": "\(position)", "to": "\(start)", "historyID": "\(historyID)"])
    let moved = try await pool.query(
      """
      update event_store.cursors
      set history_id = \(historyID), position = \(start.rawValue), event_id = \(optional: event?.id),
        updated_at = clock_timestamp()
      where name = \(Self.name) and history_id = \(known) and position = \(position)
      """)
    guard moved.affectedRows == 1 else { throw Overtaken() }
    return Cursor(historyID, start, event?.id)
  }

  /// All events up to this one are confirmed, or no queue is bound for them.
  private func move(_ cursor: inout Cursor, to event: RecordedEvent) {
    if !cursor.isAhead { cursor.saveAt = Machine.now + Self.saveInterval }
    (cursor.position, cursor.eventID) = (event.position, event.id)
    progress.move(to: event.position)
    metrics.position.record(event.position.rawValue)
  }

  /// Saves in a separate task, so that a shutdown does not cancel it.
  private func save(_ cursor: inout Cursor) async throws {
    guard cursor.isAhead else { return }
    let (pool, state) = (pool, cursor)
    let isSame = try await Task {
      try await pool.query(
        """
        update event_store.cursors c set position = \(state.position.rawValue), event_id = \(optional: state.eventID),
          updated_at = clock_timestamp()
        from event_store.identity i
        where c.name = \(Self.name) and c.history_id = \(state.historyID) and c.position = \(state.saved.rawValue)
        returning i.history_id = c.history_id
        """
      ).decode(Bool.self).first
    }.value
    // A cursor of a history that has ended is saved too: its events are published.
    cursor.saved = cursor.position
    guard isSame == true else { throw Overtaken() }
  }
}

private struct IntegrationMetrics {
  let published = Counter(label: "integration_events_published_total")
  let unwanted = Counter(label: "integration_events_unrouted_total")
  let refused = Counter(label: "integration_events_refused_total")
  let failures = Counter(label: "integration_failures_total")
  let position = Gauge(label: "integration_position")
}
