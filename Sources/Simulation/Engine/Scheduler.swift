internal import CTaskQueue
internal import HeapModule

/// Runs all tasks of this process one at a time, on the thread that calls `run`, in an order that a seed chooses. Its time
/// passes only when no task is ready.
///
/// It is unchecked, since one thread alone uses it: the runtime gives every ready task to `take` on the thread that makes it
/// ready, and all tasks run on that thread.
final class Scheduler: @unchecked Sendable {
  /// The one of this process; the runtime's hooks know no other.
  static let shared = Scheduler()

  private struct Timer: Comparable {
    let time: Duration
    /// Timers of one time ring in the order in which they were set.
    let order: Int
    let action: @Sendable () -> Void

    static func < (a: Timer, b: Timer) -> Bool { (a.time, a.order) < (b.time, b.order) }
    static func == (a: Timer, b: Timer) -> Bool { a.order == b.order }
  }

  /// What running a task for a while costs.
  private static let cost = Duration.microseconds(1)

  private var ready: [UnsafeMutableRawPointer] = []
  private var timers: Heap<Timer> = []
  private var timersSet = 0
  private var chance = SeededChance(seed: 0)
  /// Since the simulation began.
  private(set) var time = Duration.zero
  /// How many tasks were run.
  private(set) var steps = 0

  private var hasTasks = false

  private init() {}

  /// Forgets everything, for another world. From the first call on, all tasks of this process wait for `run`.
  func begin(seed: UInt64) {
    if !hasTasks { task_queue_route { job in Scheduler.shared.ready.append(job!) } }
    hasTasks = true
    precondition(ready.isEmpty, "tasks of an earlier world are ready")
    (timers, timersSet, time, steps) = ([], 0, .zero, 0)
    chance = SeededChance(seed: seed, for: "scheduler")
  }

  /// Calls a function at a time; at once if it has passed.
  func call(at time: Duration, _ action: @escaping @Sendable () -> Void) {
    timersSet += 1
    timers.insert(Timer(time: time, order: timersSet, action: action))
  }

  /// Runs tasks until `isOver`, or until none is ready and no timer is set.
  /// - Returns: whether it is over.
  func run(until isOver: () -> Bool) -> Bool {
    while !isOver() {
      while let timer = timers.min, timer.time <= time { timers.removeMin().action() }
      if ready.isEmpty {
        guard let next = timers.min else { return false }
        time = max(time, next.time)
        continue
      }
      let index = ready.count == 1 ? 0 : Int.random(in: 0..<ready.count, using: &chance)
      ready.swapAt(index, ready.count - 1)
      let job = ready.removeLast()
      steps += 1
      time += Self.cost
      task_queue_run(job)
    }
    return true
  }
}
