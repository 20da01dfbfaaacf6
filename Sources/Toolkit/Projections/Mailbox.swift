internal import DequeModule
internal import EventLoop
internal import EventSourcing
internal import Synchronization

/// Limits the bytes of events that the lanes of a process hold at once. Each lane has an equal share: one half for
/// its mailbox, the other for events read from the store.
final class MemoryBudget: Sendable {
  private let bytes: Int
  private let lanes = Atomic(0)

  init(bytes: Int) { self.bytes = bytes }

  /// Adds lanes, or removes them if the number is negative.
  func change(lanes count: Int) { lanes.add(count, ordering: .relaxed) }

  /// Half of a lane's share, in bytes; at least 1, so that work always continues.
  var half: Int { max(1, bytes / max(1, lanes.load(ordering: .relaxed)) / 2) }
}

/// Batches that wait for one lane, bounded in bytes. A batch that does not fit is dropped, and its events are read
/// from the store later. So a slow projection delays neither the feed nor the other projections.
final class Mailbox: Sendable {
  private struct State {
    var batches: Deque<FeedBatch> = []
    var size = 0
    /// The indices of the partitions whose batches are wanted.
    var wanted: Set<Int> = []
  }

  private let budget: MemoryBudget
  private let state = Mutex(State())
  let wakeup = Wakeup()

  init(_ budget: MemoryBudget) { self.budget = budget }

  /// Accepts only batches of these partitions from now on.
  func accept(_ partitions: Set<Int>) { state.withLock { $0.wanted = partitions } }

  var wanted: Set<Int> { state.withLock { $0.wanted } }

  func wants(_ message: FeedMessage) -> Bool {
    state.withLock { state in message.batches.contains { state.wanted.contains($0.partition.index) } }
  }

  /// - Returns: the number of wanted batches that did not fit.
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

  var isEmpty: Bool { state.withLock { $0.batches.isEmpty } }

  /// Takes the oldest batches, at least one if there is any, up to about `limit` events.
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
