internal import DequeModule
internal import EventLoop
internal import EventRelay
internal import EventSourcing
internal import Synchronization

/// The bytes of events that the lanes of a process hold at once. Each has an equal share of them: one half for what
/// waits in its mailbox, the other for what it reads from the store.
final class MemoryBudget: Sendable {
  private let bytes: Int
  private let lanes = Atomic(0)

  init(bytes: Int) { self.bytes = bytes }

  /// Lanes come, or go when it is negative.
  func change(lanes count: Int) { lanes.add(count, ordering: .relaxed) }

  /// Half of a lane's share, in bytes; at least one, so that something always goes on.
  var half: Int { max(1, bytes / max(1, lanes.load(ordering: .relaxed)) / 2) }
}

/// Deliveries that wait for one projection, bounded in bytes. What does not fit is dropped, and read
/// from the store later: a slow projection holds up neither the feed nor the others.
final class Mailbox: Sendable {
  private struct State {
    var batches: Deque<FeedBatch> = []
    /// Of them, those that may be taken, from the first on.
    var open = 0
    var size = 0
    /// Indices of the partitions whose deliveries are wanted.
    var wanted: Set<Int> = []
  }

  private let budget: MemoryBudget
  private let state = Mutex(State())
  let wakeup = Wakeup()

  init(_ budget: MemoryBudget) { self.budget = budget }

  /// Deliveries of these partitions alone are taken from now on.
  func accept(_ partitions: Set<Int>) { state.withLock { $0.wanted = partitions } }

  var wanted: Set<Int> { state.withLock { $0.wanted } }

  /// What was offered may be taken from now on, in one round with the other lanes.
  /// - Returns: whether there is anything.
  func open() -> Bool {
    state.withLock { state in
      state.open = state.batches.count
      return state.open > 0
    }
  }

  /// - Returns: false when the mailbox is full.
  func offer(_ batch: FeedBatch) -> Bool {
    let size = batch.size
    return state.withLock { state in
      guard state.wanted.contains(batch.partition.index) else { return true }
      guard state.size + size <= budget.half || state.batches.isEmpty else { return false }
      state.batches.append(batch)
      state.size += size
      return true
    }
  }

  /// The oldest deliveries that are open, at least one where there are any, up to about `events` events.
  func take(events limit: Int) -> [FeedBatch] {
    state.withLock { state in
      var taken: [FeedBatch] = []
      var count = 0
      while count < limit, state.open > 0, let batch = state.batches.popFirst() {
        state.open -= 1
        taken.append(batch)
        count += batch.events.count
        state.size -= batch.size
      }
      return taken
    }
  }
}

/// Tells of deliveries: of the first after a pause at once, of others together with those that come soon after.
final class Bell: Sendable {
  private struct State {
    var last: ContinuousClock.Instant?
    var isDue = false
  }

  private let state = Mutex(State())

  /// - Parameter interval: between two calls of `tell`, at least.
  func ring(every interval: Duration, _ tell: @escaping @Sendable () -> Void) {
    let now = ContinuousClock.now
    let next = state.withLock { state -> ContinuousClock.Instant? in
      guard !state.isDue else { return nil }
      let next = max(now, (state.last ?? now) + (state.last == nil ? .zero : interval))
      state.isDue = next > now
      state.last = next
      return next
    }
    guard let next else { return }
    guard next > now else { return tell() }
    Task {
      try? await Task.sleep(until: next, clock: .continuous)
      state.withLock { $0.isDue = false }
      tell()
    }
  }
}
