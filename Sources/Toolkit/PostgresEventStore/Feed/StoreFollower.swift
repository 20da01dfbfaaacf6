internal import EventLoop
package import EventSourcing
internal import Failures
package import FoundationEssentials
package import Logging
internal import Machine
package import Postgres
internal import Synchronization

/// Reads new events from the store, from its head on. Notifications wake it; without them it polls.
package struct StoreFollower: Sendable {
  package struct Settings: Sendable {
    /// The most events that are read at a time.
    package var readSize = 1_000
    /// How often the follower reads the store without a notification.
    package var pollInterval = Duration.milliseconds(500)
    /// The shortest time between the starts of two reads: events that are appended meanwhile are read together. The
    /// first event after a pause is read at once.
    package var gatherTime = Duration.milliseconds(16)
    /// How often the follower checks that the history id is the same, and that the head is not before what it has read.
    package var historyCheckInterval = Duration.seconds(1)
    /// If it is more events behind the head than this, the follower starts again at the head.
    package var jumpDistance = 50_000

    package init() {}
  }

  /// Calls a function with the last position of each append, until the task is cancelled; with nil if some may have been
  /// missed.
  package typealias Listening = @Sendable (@escaping @Sendable (Position?) -> Void) async -> Void

  private let store: any EventLog
  private let partitionings: [Partitioning]
  private let settings: Settings
  private let listening: Listening
  private let logger: Logger
  private let wakeup = Wakeup()
  /// The last position in a notification since the store was read.
  private let notified = Latest()

  /// - Parameter partitionings: the sink gets the messages of each.
  package init(_ pool: PostgresPool, _ partitionings: [Partitioning], _ settings: Settings, logger: Logger) {
    let listener = NotificationListener(
      pool.configuration, channels: [PostgresEventStore.channel], logger: logger)
    self.init(PostgresEventStore(pool), partitionings, settings, logger: logger) { told in
      await listener.run { told($0.map { Position(Int64($0.payload) ?? .max) }) }
    }
  }

  /// - Parameters:
  ///   - partitionings: the sink gets the messages of each.
  ///   - listening: tells of appends. It may miss some.
  package init(
    _ store: any EventLog, _ partitionings: [Partitioning], _ settings: Settings, logger: Logger,
    listening: @escaping Listening
  ) {
    self.store = store
    self.partitionings = partitionings
    self.settings = settings
    self.listening = listening
    self.logger = logger
  }

  /// Ends a wait, for instance after the sink has become active.
  package func wake() { wakeup.signal() }

  /// Passes events to the sink in order while the sink is active, until the task is cancelled. After an error it backs
  /// off and starts again at the head.
  package func run(_ sink: some StoreSink) async {
    await withDiscardingTaskGroup { group in
      group.addTask { await self.listen() }
      var backoff = Backoff(first: .milliseconds(100))
      while !Task.isCancelled {
        guard await sink.isActive else {
          await wakeup.wait(upTo: settings.pollInterval)
          continue
        }
        do {
          try await follow(sink) { backoff.reset() }
        } catch {
          guard !Task.isCancelled else { break }
          logger.log(
            level: FailureKind(error).needsAPerson ? .critical : .error, "the live feed is interrupted; trying again",
            metadata: ["error": "\(error)"])
          await sink.failed()
          try? await Machine.sleep(for: backoff.next())
        }
      }
      group.cancelAll()
    }
  }

  private func listen() async {
    await listening { position in
      // nil: notifications may have been lost, so that anything may have been appended.
      notified.raise(to: position?.rawValue ?? .max)
      wakeup.signal()
    }
  }

  /// Follows from the head on until the sink is not active any more, the store's history changes, or the head is too
  /// far ahead.
  private func follow(_ sink: some StoreSink, onProgress: () -> Void) async throws {
    let historyID = try await store.historyID()
    var cursor = try await store.head()
    var batchers: [FeedBatcher] = []
    for partitioning in partitionings {
      let heads = try await store.heads(of: partitioning)
      batchers.append(FeedBatcher(historyID: historyID, partitioning: partitioning, heads: heads))
    }
    await sink.begins(at: cursor)
    var nextCheck = Machine.now + settings.historyCheckInterval
    while await sink.isActive, !Task.isCancelled {
      if Machine.now >= nextCheck {
        let (now, head) = (try await store.historyID(), try await store.head())
        guard now == historyID, head >= cursor else {
          logger.error("the write store's history has changed; continues at its head", metadata: ["head": "\(head)"])
          return
        }
        nextCheck = Machine.now + settings.historyCheckInterval
        try await sink.stands(at: cursor, in: historyID)
      }
      notified.reset()
      let begun = Machine.now
      let events = try await store.events(after: cursor, limit: settings.readSize)
      guard let last = events.last else {
        await sink.isIdle(at: cursor)
        await waitForMore(than: cursor)
        continue
      }
      let messages = batchers.indices.map { batchers[$0].messages(of: events) }
      try await sink.take(events, as: messages, in: historyID)
      cursor = last.position
      onProgress()
      if events.count < settings.readSize {
        await waitForMore(than: cursor)
        let next = begun + settings.gatherTime
        if Machine.now < next { try? await Machine.sleep(until: next) }
      } else if try await store.head().rawValue - cursor.rawValue > settings.jumpDistance {
        logger.warning("too far behind; the live feed skips to the head", metadata: ["position": "\(cursor)"])
        return
      }
    }
  }

  /// Waits until the store notifies of a later position, for `pollInterval` at most.
  private func waitForMore(than position: Position) async {
    let end = Machine.now + settings.pollInterval
    while notified.value <= position.rawValue, Machine.now < end, !Task.isCancelled {
      await wakeup.wait(upTo: end - Machine.now)
    }
  }
}

/// Receives the events that a `StoreFollower` reads.
package protocol StoreSink: Sendable {
  /// While it is false, nothing is read.
  var isActive: Bool { get async }
  /// The follower starts, or starts again, after this position.
  func begins(at head: Position) async
  /// - Parameters:
  ///   - events: have consecutive positions.
  ///   - messages: the same events, as the feed sends them: for each partitioning in turn.
  func take(_ events: [RecordedEvent], as messages: [[FeedMessage]], in historyID: UUID) async throws
  /// No events were found after this position.
  func isIdle(at position: Position) async
  /// Called every `historyCheckInterval` with the position up to which events were taken.
  func stands(at position: Position, in historyID: UUID) async throws
  /// An error occurred and was logged. The follower calls `begins` again.
  func failed() async
}

extension StoreSink {
  package var isActive: Bool { true }
  package func begins(at head: Position) {}
  package func isIdle(at position: Position) {}
  package func stands(at position: Position, in historyID: UUID) {}
  package func failed() {}
}

/// The highest value that was reported.
private final class Latest: Sendable {
  private let latest = Atomic<Int64>(0)

  var value: Int64 { latest.load(ordering: .acquiring) }
  func raise(to value: Int64) { latest.max(value, ordering: .releasing) }
  func reset() { latest.store(0, ordering: .sequentiallyConsistent) }
}
