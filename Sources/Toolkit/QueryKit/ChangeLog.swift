package import EventLoop
package import EventSourcing
package import Foundation
internal import HTTPKit
internal import JSON
package import Logging
internal import Machine
internal import Metrics
package import Projections
internal import ServiceLifecycle
internal import Synchronization

/// One event as its followers see it: its type and its stream, without its data.
package struct Change: Sendable {
  package let position: Position
  package let stream: StreamID
  let type: String
  /// The message in `text/event-stream` format.
  let message: [UInt8]
}

/// The events that queries already show, in order, for any number of followers. Each follower reads at its own pace, so
/// that nothing is queued for a slow one. The newest changes are in memory; a follower that is further behind reads the
/// write store.
package final class ChangeLog: Service {
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
    var followers: [Wakeup] = []
    var isOver = false
    /// Increases when all followers must start again: after a change of the history, and at shutdown.
    var epoch = 0
    var historyID: UUID?
    /// The log has every event that was visible at this time.
    var isComplete = Machine.now
  }

  private let newest: any EventLog
  private let older: any EventLog
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
  ///   - newest: the write store, for events that become visible, so that no other read delays them.
  ///   - older: the write store, for followers that need events from before those in memory.
  package init(
    newest: any EventLog, older: any EventLog, _ readStore: ReadStore, reads: [Reads], heads: StoreHeads,
    activity: Activity, logger: Logger
  ) {
    self.reads = reads
    self.newest = newest
    self.older = older
    self.readStore = readStore
    self.heads = heads
    self.activity = activity
    self.logger = logger
  }

  /// - Returns: the follower's wakeup; nil if there are `limit` followers already, or after shutdown.
  package func enter(atMost limit: Int) -> Wakeup? {
    let wakeup = Wakeup()
    let count = state.withLock { state -> Int? in
      guard !state.isOver, state.followers.count < limit else { return nil }
      state.followers.append(wakeup)
      return state.followers.count
    }
    guard let count else { return nil }
    following.record(count)
    return wakeup
  }

  package func leave(_ wakeup: Wakeup) {
    following.record(
      state.withLock { state in
        state.followers.removeAll { $0 === wakeup }
        return state.followers.count
      })
  }

  /// Where a new follower starts, and the history that the position belongs to; nil if it is not known. After a restore the log
  /// may still be in the lost history.
  package var start: (position: Position, historyID: UUID)? {
    guard let historyID = heads.historyID else { return nil }
    let known = state.withLock { ($0.tail, $0.historyID) }
    if let tail = known.0 { return known.1 == historyID ? (tail, historyID) : nil }
    return visible(in: historyID).map { ($0, historyID) }
  }

  /// Returns the last position of the write store.
  func head() async throws -> Position { try await older.head() }

  /// Throws a `Problem` if events after a position are archived.
  func expectStored(after position: Position) async throws {
    do { _ = try await older.events(after: position, limit: 1) } catch {
      if case .archived(let reason) = error { throw Problem.archived(reason) }
      throw error
    }
  }

  private var isOver: Bool { state.withLock { $0.isOver } }

  /// When it changes, followers must start again.
  package var epoch: Int { state.withLock { $0.epoch } }

  /// Returns the next changes after a position, and the position up to which they are complete. Waits for them until
  /// `deadline`, and then returns none.
  /// - Parameter wakeup: the follower's own, from `enter`.
  package func changes(
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
    _ store: any EventLog, after position: Position, upTo last: Position
  ) async throws -> [Change] {
    let limit = Int(min(Int64(Self.readSize), last.rawValue - position.rawValue))
    guard limit > 0 else { return [] }
    let mark = Self.mark(of: heads.historyID)
    return try await store.events(after: position, limit: limit).map { Self.change($0, mark) }
  }

  /// Returns the position in a history up to which every read model shows all events, except those of parked streams. A
  /// parked stream does not delay the others.
  private func visible(in historyID: UUID) -> Position? {
    // A query may go to any server, so that the slowest one counts.
    let known = readStore.servers.filter(\.progress.isAlive).map { $0.progress.applied(by: reads, in: historyID) }
    guard !known.isEmpty, !known.contains(nil) else { return nil }
    return known.compactMap { $0 }.min()
  }

  package func run() async {
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
    guard let historyID = heads.historyID else { return }
    guard state.withLock({ $0.historyID ?? historyID }) == historyID else {
      return tellAll { state in
        (state.recent, state.tail, state.historyID, state.epoch) = ([], nil, historyID, state.epoch + 1)
      }
    }
    guard let visible = visible(in: historyID) else { return }
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
      return state.followers
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
