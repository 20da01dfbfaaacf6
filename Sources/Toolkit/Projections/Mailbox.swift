internal import DequeModule
internal import EventLoop
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

  func wants(_ message: FeedMessage) -> Bool {
    state.withLock { state in message.batches.contains { state.wanted.contains($0.partition.index) } }
  }

  /// - Returns: how many of the batches that are wanted did not fit in.
  func offer(_ message: FeedMessage) -> Int {
    state.withLock { state in
      var dropped = 0
      for batch in message.batches where state.wanted.contains(batch.partition.index) {
        let size = batch.size
        guard state.size + size <= budget.half || state.batches.isEmpty else {
          dropped += 1
          continue
        }
        state.batches.append(batch)
        state.size += size
      }
      return dropped
    }
  }

  /// The oldest deliveries, at least one where there are any, up to about `events` events.
  func take(events limit: Int) -> [FeedBatch] {
    state.withLock { state in
      var taken: [FeedBatch] = []
      var count = 0
      while count < limit, let batch = state.batches.popFirst() {
        taken.append(batch)
        count += batch.events.count
        state.size -= batch.size
      }
      return taken
    }
  }
}
