import EventSourcing
import Foundation
import JSON
import Logging
import Metrics
import Postgres
import PostgresEventStore
import Projections
import ServiceKit
import ServiceLifecycle
import Synchronization

/// One event, as those hear of it who follow what changes: what happened to what, and nothing that was in it.
struct Change: Sendable {
  let position: Position
  let stream: StreamID
  let type: String
  /// A message of `text/event-stream`.
  let message: [UInt8]
}

/// Events that queries see already, in order, for any number of followers: each takes what comes at its own pace, so that nothing
/// is kept for a slow one. The newest are in memory; who is further behind reads the store.
final class ChangeLog: Service {
  /// Changes in memory.
  private static let memory = 10_000
  /// Events read at a time.
  private static let readSize = 500
  private static let interval = Duration.milliseconds(50)

  private struct State {
    /// Consecutive, up to `tail`.
    var recent: [Change] = []
    /// Every event up to here has been looked at; nil before the first look.
    var tail: Position?
    var waiting: [Int: CheckedContinuation<Void, Never>] = [:]
    var next = 0
    var followers = 0
    var isOver = false
    /// Counts up when all must begin anew: another history, or the end.
    var epoch = 0
    var incarnation: UUID?
  }

  private let store: PostgresEventStore
  private let readStore: ReadStore
  private let heads: StoreHeads
  private let activity: Activity
  private let logger: Logger
  private let state = Mutex(State())
  private let following = Gauge(label: "query_followers")

  /// - Parameter writeStore: where the events are.
  init(_ writeStore: PostgresPool, _ readStore: ReadStore, heads: StoreHeads, activity: Activity, logger: Logger) {
    store = PostgresEventStore(writeStore)
    self.readStore = readStore
    self.heads = heads
    self.activity = activity
    self.logger = logger
  }

  /// - Returns: false where there are so many already.
  func enter(atMost limit: Int) -> Bool {
    let count = state.withLock { state -> Int? in
      guard !state.isOver, state.followers < limit else { return nil }
      state.followers += 1
      return state.followers
    }
    if let count { following.record(count) }
    return count != nil
  }

  func leave() {
    following.record(
      state.withLock { state in
        state.followers -= 1
        return state.followers
      })
  }

  /// Where who comes now begins; nil where that is not known.
  var tail: Position? { state.withLock { $0.tail } ?? visible() }

  private var isOver: Bool { state.withLock { $0.isOver } }

  /// Another than before: those who follow must begin anew.
  var epoch: Int { state.withLock { $0.epoch } }

  /// The changes after a position, some at a time, and up to where they are complete; none at `deadline`.
  func changes(after position: Position, until deadline: ContinuousClock.Instant) async throws -> (
    [Change], upTo: Position
  ) {
    while true {
      let found = state.withLock { state -> (changes: [Change], tail: Position, isInMemory: Bool)? in
        guard let tail = state.tail, tail > position else { return nil }
        // All after it are in memory where it is not before the first of them.
        let first = Position(tail.rawValue - Int64(state.recent.count))
        guard position >= first else { return ([], tail, false) }
        let start = Int(position.rawValue - first.rawValue)
        return (Array(state.recent[start...].prefix(Self.readSize)), tail, true)
      }
      if let found {
        if found.isInMemory { return (found.changes, found.changes.last?.position ?? found.tail) }
        let read = try await read(after: position, upTo: found.tail)
        return (read, read.last?.position ?? found.tail)
      }
      guard ContinuousClock.now < deadline, !isOver, !Task.isCancelled else { return ([], position) }
      let epoch = epoch
      await wait(for: position, until: deadline)
      guard epoch == self.epoch else { return ([], position) }
    }
  }

  private func read(after position: Position, upTo last: Position) async throws -> [Change] {
    let limit = Int(min(Int64(Self.readSize), last.rawValue - position.rawValue))
    guard limit > 0 else { return [] }
    let mark = Self.mark(of: heads.incarnation)
    return try await store.events(after: position, limit: limit).map { Self.change($0, mark) }
  }

  private func wait(for position: Position, until deadline: ContinuousClock.Instant) async {
    let id = state.withLock { state in
      state.next += 1
      return state.next
    }
    await withTaskGroup(of: Void.self) { group in
      group.addTask {
        await withTaskCancellationHandler {
          await withCheckedContinuation { continuation in
            let isOver = self.state.withLock { state in
              // It may have come in between.
              guard !state.isOver, !Task.isCancelled, state.tail.map({ $0 <= position }) ?? true else { return true }
              state.waiting[id] = continuation
              return false
            }
            if isOver { continuation.resume() }
          }
        } onCancel: {
          self.state.withLock { $0.waiting.removeValue(forKey: id) }?.resume()
        }
      }
      group.addTask { try? await Task.sleep(until: deadline) }
      await group.next()
      group.cancelAll()
    }
  }

  /// Up to where every read model shows the events.
  private func visible() -> Position? {
    // A query may go to any of the servers.
    let known = readStore.servers.filter(\.progress.isAlive).map { $0.progress.freshness(of: commerceReads)?.position }
    guard !known.isEmpty, !known.contains(nil) else { return nil }
    return known.compactMap { $0 }.min()
  }

  func run() async {
    await cancelWhenGracefulShutdown {
      var isFailing = false
      while !Task.isCancelled {
        if self.state.withLock({ $0.followers }) > 0 {
          self.activity.note()
          do {
            try await self.look()
            isFailing = false
          } catch {
            if !isFailing { self.logger.warning("cannot follow what changes", metadata: ["error": "\(error)"]) }
            isFailing = true
          }
        } else {
          // Who comes next begins with what is visible then.
          self.state.withLock { state in
            guard state.followers == 0 else { return }
            (state.recent, state.tail) = ([], nil)
          }
        }
        try? await Task.sleep(for: Self.interval)
      }
    }
    resumeAll { ($0.isOver, $0.epoch) = (true, $0.epoch + 1) }
  }

  private func look() async throws {
    guard let visible = visible(), let incarnation = heads.incarnation else { return }
    guard state.withLock({ $0.incarnation ?? incarnation }) == incarnation else {
      return resumeAll { state in
        (state.recent, state.tail, state.incarnation, state.epoch) = ([], nil, incarnation, state.epoch + 1)
      }
    }
    state.withLock { $0.incarnation = incarnation }
    guard let tail = state.withLock({ $0.tail }) else {
      return resumeAll { $0.tail = visible }
    }
    guard visible > tail else { return }
    let read = try await read(after: tail, upTo: visible)
    guard let last = read.last else { return }
    resumeAll { state in
      state.recent += read
      if state.recent.count > Self.memory { state.recent.removeFirst(state.recent.count - Self.memory) }
      state.tail = last.position
    }
  }

  private func resumeAll(_ change: (inout State) -> Void) {
    let waiting = state.withLock { state in
      change(&state)
      defer { state.waiting = [:] }
      return state.waiting.values
    }
    for continuation in waiting { continuation.resume() }
  }

  /// What an id ends with, so that one of another history is not taken for one of this.
  static func mark(of incarnation: UUID?) -> String {
    incarnation.map { String($0.uuidString.lowercased().prefix(8)) } ?? ""
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

/// Every read model.
let commerceReads: [Reads] = [.orders, .customers, .catalogue, .sales, Reads("returns")]
