internal import EventSourcing
internal import FoundationEssentials
internal import Reactions
internal import Synchronization

/// A clock that stands still until it is moved.
final class MovedClock: Sendable {
  private let time: Mutex<Timestamp>

  init(_ start: Timestamp) { time = Mutex(start) }

  var now: Timestamp { time.withLock { $0 } }

  /// Moves it forward; it never goes back.
  func move(to later: Timestamp) { time.withLock { $0 = max($0, later) } }
}

/// The scheduled commands of a store in memory. One that fails is removed, because the test gets the error.
final class ScheduledInMemory: DeadlineQueue {
  private let store: InMemoryEventStore
  private let clock: MovedClock
  private let failure = Mutex<Mismatch?>(nil)

  init(_ store: InMemoryEventStore, _ clock: MovedClock) { (self.store, self.clock) = (store, clock) }

  func due(_ names: [String], atMost limit: Int) async -> [DueDeadline] {
    let now = clock.now
    let historyID = await store.historyID()
    let due = await store.deadlines.filter { $0.dueAt <= now && names.contains($0.deadline.command) }
    return due.prefix(limit).map { due in
      let deadline = due.deadline
      return DueDeadline(
        id: deadline.id, command: deadline.command, data: deadline.data, metadata: deadline.metadata,
        historyID: historyID)
    }
  }

  func counts() async -> DeadlineCounts {
    let all = await store.deadlines
    let late = all.first.map { clock.now.microsecondsSince1970 - $0.dueAt.microsecondsSince1970 } ?? 0
    return DeadlineCounts(outstanding: all.count, stuck: 0, overdue: max(0, Double(late) / 1_000_000))
  }

  func remove(_ id: UUID) async { await store.removeDeadline(id) }
  func postpone(_ id: UUID, because error: any Error) async { await fail(id, because: error) }

  func fail(_ id: UUID, because error: any Error) async {
    failure.withLock { $0 = $0 ?? Mismatch(description: "a scheduled command fails: \(error)") }
    await store.removeDeadline(id)
  }

  func takeFailure() -> Mismatch? {
    failure.withLock { failure in
      defer { failure = nil }
      return failure
    }
  }
}
