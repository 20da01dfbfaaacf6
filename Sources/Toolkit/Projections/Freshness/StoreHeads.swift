internal import EventLoop
package import EventSourcing
package import FoundationEssentials
package import Logging
internal import Machine
package import Postgres
internal import PostgresEventStore
internal import ServiceLifecycle
internal import Synchronization

/// Follows the write store's last positions, so that the age of an answer can be calculated.
package final class StoreHeads: Service {
  /// The last position in each of the finest partitions, at one time.
  struct Heads: Sendable {
    /// The time before the query: all events stored by then are at or before these positions.
    let at: ContinuousClock.Instant
    let buckets: [Int64]
    let last: Int64

    /// The last position in a partition.
    func head(of partition: Partition) -> Int64 { buckets[partition.buckets].max() ?? 0 }
  }

  struct State: Sendable {
    /// Newest first.
    var heads: [Heads] = []
    var historyID: UUID?
    var isFailing = false
    var lookedAt: ContinuousClock.Instant?
  }

  /// The number of looks that are kept: those of the last seconds.
  private static let memory = 40

  private let store: any EventLog
  private let activity: Activity
  private let logger: Logger
  private let state = Mutex(State())

  /// Watches the write store.
  /// - Parameters:
  ///   - writeStore: one of its connections is used at a time.
  ///   - activity: tells whether requests arrive, so that an idle process asks rarely.
  ///   - logger: gets failed attempts.
  package convenience init(_ writeStore: PostgresPool, activity: Activity, logger: Logger) {
    self.init(PostgresEventStore(writeStore), activity: activity, logger: logger)
  }

  package init(_ store: any EventLog, activity: Activity, logger: Logger) {
    self.store = store
    self.activity = activity
    self.logger = logger
  }

  var known: State { state.withLock { $0 } }

  /// The write store's history id; nil before its first answer.
  package var historyID: UUID? { state.withLock { $0.historyID } }

  /// Returns the write store's history id at the time of the call or later. If the store does not answer for two
  /// seconds, returns the last known one.
  package func historyIDFromNowOn() async -> UUID? {
    let now = Machine.now
    activity.note()
    while Machine.now < now + .seconds(2), state.withLock({ $0.lookedAt ?? now - .seconds(1) }) < now {
      guard (try? await Machine.sleep(for: .milliseconds(20))) != nil else { break }
    }
    return historyID
  }

  /// The last position at the last look; nil before the write store's first answer.
  package var last: Position? { state.withLock { $0.heads.first.map { Position($0.last) } } }

  /// Whether the write store has answered in the last five seconds.
  package var isAnswering: Bool {
    state.withLock { state in state.lookedAt.map { Machine.now - $0 < .seconds(5) } ?? false }
  }

  /// Returns the last position in each partition at the last look; nil before the write store's first answer.
  package func heads(of partitioning: Partitioning) -> [Position]? {
    state.withLock { state in
      state.heads.first.map { heads in partitioning.partitions.map { Position(heads.head(of: $0)) } }
    }
  }

  /// Records that a query needs to know how fresh its answer is.
  package func note() { activity.note() }

  package func run() async {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        await self.look()
        await self.activity.rest()
      }
    }
  }

  package func look() async {
    let now = Machine.now
    do throws(EventStoreError) {
      let historyID = try await store.historyID()
      let heads = try await store.heads(of: .finest).map(\.position.rawValue)
      state.withLock { state in
        if state.historyID != historyID { state.heads = [] }
        state.historyID = historyID
        state.heads.insert(Heads(at: now, buckets: heads, last: heads.max() ?? 0), at: 0)
        if state.heads.count > Self.memory { state.heads.removeLast() }
        state.isFailing = false
        state.lookedAt = now
      }
    } catch {
      guard !Task.isCancelled else { return }
      let isNew = state.withLock { state in
        defer { state.isFailing = true }
        return !state.isFailing
      }
      if isNew {
        logger.warning(
          "the write store does not answer; the lag of answers is unknown", metadata: ["error": "\(error)"])
      }
    }
  }
}

/// Tracks whether there are queries, so that regular looks are less frequent while there are none.
package final class Activity: Sendable {
  private static let memory = Duration.seconds(2)

  private let last = Mutex(Machine.now)
  let busy: Duration
  private let idle: Duration

  /// Chooses how often to look.
  /// - Parameters:
  ///   - busy: the time between two looks while there are queries.
  ///   - idle: the time between two looks while there are none.
  package init(busy: Duration = .milliseconds(100), idle: Duration = .seconds(1)) {
    self.busy = busy
    self.idle = idle
  }

  /// Records a query.
  /// - Returns: whether there was none for some time.
  @discardableResult package func note() -> Bool {
    last.withLock { last in
      let now = Machine.now
      defer { last = now }
      return now - last >= Self.memory
    }
  }

  /// The time to the next look.
  var interval: Duration { Machine.now - last.withLock { $0 } < Self.memory ? busy : idle }

  func rest() async { try? await Machine.sleep(for: interval) }
}
