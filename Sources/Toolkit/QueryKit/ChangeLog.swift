internal import EventLoop
internal import EventSourcing
internal import Foundation
internal import HTTPKit
internal import JSON
internal import Logging
internal import Machine
internal import Metrics
internal import Postgres
internal import PostgresEventStore
internal import Projections
internal import ServiceLifecycle
internal import Synchronization

/// One event as its followers see it: its type and its stream, without its data.
struct Change: Sendable {
  let position: Position
  let stream: StreamID
  let type: String
  /// The message in `text/event-stream` format.
  let message: [UInt8]
}

/// The events that queries already show, in order, for any number of followers. Each follower reads at its own pace, so
/// that nothing is queued for a slow one. The newest changes are in memory; a follower that is further behind reads the
/// write store.
final class ChangeLog: Service {
  /// The most changes in memory.
  private static let memory = 10_000
  /// The most events that are read at a time.
  private static let readSize = 500
  private static let interval = Duration.milliseconds(50)

  private struct State {
    /// Consecutive changes, of which the last is at `tail`.
    var recent: [Change] = []
    /// The log has read every event up to here; nil before the first look.
    var tail: Position?
    var followers: [ObjectIdentifier: Wakeup] = [:]
    var isOver = false
    /// Increases when all followers must start again: after a change of the history, and at shutdown.
    var epoch = 0
    var historyID: UUID?
    /// The log has every event that was visible at this time.
    var isComplete = Machine.now
  }

  private let newest: PostgresEventStore
  private let older: PostgresEventStore
  private let readStore: ReadStore
  private let heads: StoreHeads
  /// All read models: a follower sees an event after every read model shows it.
  private let reads: [Reads]
  private let activity: Activity
  private let logger: Logger
  private let state = Mutex(State())
  private let following = Gauge(label: "query_followers")
  private let lag = Gauge(label: "query_changes_lag_seconds")

  /// - Parameters:
  ///   - newest: a pool on the write store for events that become visible, so that no other read delays them.
  ///   - older: a pool on the write store for followers that need events from before those in memory.
  init(
    newest: PostgresPool, older: PostgresPool, _ readStore: ReadStore, reads: [Reads], heads: StoreHeads,
    activity: Activity, logger: Logger
  ) {
    self.reads = reads
    self.newest = PostgresEventStore(newest)
    self.older = PostgresEventStore(older)
    self.readStore = readStore
    self.heads = heads
    self.activity = activity
    self.logger = logger
  }

  /// - Returns: the follower's wakeup; nil if there are `limit` followers already, or after shutdown.
  func enter(atMost limit: Int) -> Wakeup? {
    let wakeup = Wakeup()
    let count = state.withLock { state -> Int? in
      guard !state.isOver, state.followers.count < limit else { return nil }
      state.followers[ObjectIdentifier(wakeup)] = wakeup
      return state.followers.count
    }
    guard let count else { return nil }
    following.record(count)
    return wakeup
  }

  func leave(_ wakeup: Wakeup) {
    following.record(
      state.withLock { state in
        state.followers[ObjectIdentifier(wakeup)] = nil
        return state.followers.count
      })
  }

  /// The position at which a new follower starts; nil if it is not known.
  var tail: Position? { state.withLock { $0.tail } ?? visible() }

  /// Returns the last position of the write store.
  func head() async throws -> Position { try await older.head() }

  private var isOver: Bool { state.withLock { $0.isOver } }

  /// When it changes, followers must start again.
  var epoch: Int { state.withLock { $0.epoch } }

  /// Returns the next changes after a position, and the position up to which they are complete. Waits for them until
  /// `deadline`, and then returns none.
  /// - Parameter wakeup: the follower's own, from `enter`.
  func changes(
    after position: Position, until deadline: ContinuousClock.Instant, _ wakeup: Wakeup
  ) async throws -> ([Change], upTo: Position) {
    while true {
      let found = state.withLock { state -> (changes: [Change], tail: Position, isInMemory: Bool)? in
        guard let tail = state.tail, tail > position else { return nil }
        // `recent` has every change after `first`.
        let first = Position(tail.rawValue - Int64(state.recent.count))
        guard position >= first else { return ([], tail, false) }
        let start = Int(position.rawValue - first.rawValue)
        return (Array(state.recent[start...].prefix(Self.readSize)), tail, true)
      }
      if let found {
        if found.isInMemory { return (found.changes, found.changes.last?.position ?? found.tail) }
        let read = try await read(older, after: position, upTo: found.tail)
        return (read, read.last?.position ?? found.tail)
      }
      guard Machine.now < deadline, !isOver, !Task.isCancelled else { return ([], position) }
      let epoch = epoch
      await wakeup.wait(upTo: deadline - Machine.now)
      guard epoch == self.epoch else { return ([], position) }
    }
  }

  private func read(
    _ store: PostgresEventStore, after position: Position, upTo last: Position
  ) async throws -> [Change] {
    let limit = Int(min(Int64(Self.readSize), last.rawValue - position.rawValue))
    guard limit > 0 else { return [] }
    let mark = Self.mark(of: heads.historyID)
    return try await store.events(after: position, limit: limit).map { Self.change($0, mark) }
  }

  /// Returns the position up to which every read model shows all events, except those of parked streams. A parked
  /// stream does not delay the others.
  private func visible() -> Position? {
    // A query may go to any server, so that the slowest one counts.
    let known = readStore.servers.filter(\.progress.isAlive).map { $0.progress.applied(by: reads) }
    guard !known.isEmpty, !known.contains(nil) else { return nil }
    return known.compactMap { $0 }.min()
  }

  func run() async {
    await cancelWhenGracefulShutdown {
      var isFailing = false
      while !Task.isCancelled {
        if self.state.withLock({ !$0.followers.isEmpty }) {
          self.activity.note()
          do {
            try await self.look()
            isFailing = false
          } catch {
            if !isFailing { self.logger.warning("cannot read the changes", metadata: ["error": "\(error)"]) }
            isFailing = true
          }
        } else {
          // Forget everything: the next follower starts at the position that is visible then.
          self.state.withLock { state in
            guard state.followers.isEmpty else { return }
            (state.recent, state.tail, state.isComplete) = ([], nil, Machine.now)
          }
        }
        self.recordLag()
        try? await Machine.sleep(for: Self.interval)
      }
    }
    tellAll { ($0.isOver, $0.epoch) = (true, $0.epoch + 1) }
  }

  private func recordLag() {
    lag.record((Machine.now - state.withLock { $0.isComplete }) / .seconds(1))
  }

  private func look() async throws {
    let began = Machine.now
    guard let visible = visible(), let historyID = heads.historyID else { return }
    guard state.withLock({ $0.historyID ?? historyID }) == historyID else {
      return tellAll { state in
        (state.recent, state.tail, state.historyID, state.epoch) = ([], nil, historyID, state.epoch + 1)
      }
    }
    state.withLock { $0.historyID = historyID }
    guard let tail = state.withLock({ $0.tail }) else {
      return tellAll { $0.tail = visible }
    }
    try await Self.pages(after: tail, upTo: visible) { position in
      guard heads.historyID == historyID else { return [] }
      return try await read(newest, after: position, upTo: visible)
    } tell: { page, last in
      tellAll { state in
        state.recent += page
        if state.recent.count > Self.memory { state.recent.removeFirst(state.recent.count - Self.memory) }
        state.tail = last
      }
      recordLag()
    }
    state.withLock { $0.isComplete = began }
  }

  /// Reads page by page up to the last position, so that no event waits for the next look.
  static func pages(
    after first: Position, upTo last: Position, _ read: (Position) async throws -> [Change],
    tell: ([Change], _ upTo: Position) -> Void
  ) async throws {
    var position = first
    while position < last {
      try Task.checkCancellation()
      let page = try await read(position)
      // Positions have no gaps: an empty page means that the store was restored meanwhile.
      guard let end = page.last?.position else { return }
      tell(page, end)
      position = end
    }
  }

  private func tellAll(_ change: (inout State) -> Void) {
    let followers = state.withLock { state in
      change(&state)
      return state.followers.values
    }
    for wakeup in followers { wakeup.signal() }
  }

  /// Returns the suffix of message ids. It tells ids of different histories apart.
  static func mark(of historyID: UUID?) -> String {
    historyID.map { String($0.uuidString.lowercased().prefix(8)) } ?? ""
  }

  private static func change(_ event: RecordedEvent, _ mark: String) -> Change {
    var json = JSONWriter(reserving: 200)
    json.object { json in
      json.member("position", event.position.rawValue)
      json.member("type", event.type)
      json.member("subject", String(event.stream.category))
      json.member("id", String(event.stream.id))
      json.member("version", event.version.rawValue)
      json.member("at", event.recordedAt.description)
    }
    let message = Array("id: \(event.position)-\(mark)\nevent: \(event.type)\ndata: ".utf8) + json.bytes + [0x0A, 0x0A]
    return Change(position: event.position, stream: event.stream, type: event.type, message: message)
  }
}
