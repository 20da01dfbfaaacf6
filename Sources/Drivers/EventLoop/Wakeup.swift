internal import HeapModule
internal import Machine
import Synchronization

/// A flag that one task waits for. Signals that arrive while no task waits count as one.
package final class Wakeup: Sendable {
  private struct State {
    var isSignalled = false
    var waiter: CheckedContinuation<Void, Never>?
    /// When the waiter gives up.
    var deadline = Machine.now
    /// When `Alarm` rings next; nil if it is not set.
    var alarm: ContinuousClock.Instant?

    mutating func takeWaiter() -> CheckedContinuation<Void, Never>? {
      defer { waiter = nil }
      return waiter
    }
  }

  private let state = Mutex(State())

  package init() {}

  package func signal() {
    let waiter = state.withLock { state in
      state.isSignalled = state.waiter == nil
      return state.takeWaiter()
    }
    waiter?.resume()
  }

  /// Waits for a signal, for `timeout`, or until the task is cancelled, and clears the signal.
  package func wait(upTo timeout: Duration) async {
    let deadline = Machine.now + timeout
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = state.withLock { state in
          guard !state.isSignalled, timeout > .zero, !Task.isCancelled else {
            state.isSignalled = false
            return true
          }
          precondition(state.waiter == nil, "one task at a time waits")
          (state.waiter, state.deadline) = (continuation, deadline)
          // An alarm that rings earlier is set again then.
          if state.alarm.map({ $0 > deadline }) ?? true {
            state.alarm = deadline
            setAlarm(at: deadline)
          }
          return false
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.takeWaiter() }?.resume()
    }
  }

  private func setAlarm(at time: ContinuousClock.Instant) {
    guard let machine = Machine.simulated else { return Alarm.shared.set(self, at: time) }
    machine.call(at: time) { self.ring(at: time) }
  }

  fileprivate func ring(at time: ContinuousClock.Instant) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      // If it was set again, for an earlier time, that one counts.
      guard state.alarm == time else { return nil }
      state.alarm = nil
      guard state.waiter != nil else { return nil }
      guard state.deadline > time else { return state.takeWaiter() }
      state.alarm = state.deadline
      setAlarm(at: state.deadline)
      return nil
    }
    waiter?.resume()
  }
}

/// Ends the waits of all `Wakeup`s of the process. A wait that ends by a signal leaves its alarm set, so that the next
/// wait mostly finds one: a timer for each wait would cost more than what the waits are for.
private final class Alarm: Sendable {
  static let shared = Alarm()

  private struct State {
    var entries: Heap<Entry> = []
    /// The time of the task that starts the next one; other tasks that sleep are of no use any more.
    var next: ContinuousClock.Instant?
  }

  private struct Entry: Comparable {
    let time: ContinuousClock.Instant
    let wakeup: Wakeup

    static func < (a: Entry, b: Entry) -> Bool { a.time < b.time }
    static func == (a: Entry, b: Entry) -> Bool { a.time == b.time }
  }

  private let state = Mutex(State())

  func set(_ wakeup: Wakeup, at time: ContinuousClock.Instant) {
    let isNext = state.withLock { state in
      state.entries.insert(Entry(time: time, wakeup: wakeup))
      guard state.next.map({ time < $0 }) ?? true else { return false }
      state.next = time
      return true
    }
    if isNext { start(time) }
  }

  /// Unstructured, since it serves tasks of the whole process. It ends at that time.
  private func start(_ time: ContinuousClock.Instant) {
    Task {
      // Nobody cancels it.
      try? await Machine.sleep(until: time)
      ring(time)
    }
  }

  private func ring(_ time: ContinuousClock.Instant) {
    let (due, next) = state.withLock { state in
      let now = Machine.now
      var due: [Entry] = []
      while let first = state.entries.min, first.time <= now { due.append(state.entries.removeMin()) }
      guard state.next == time else { return (due, ContinuousClock.Instant?.none) }
      state.next = state.entries.min?.time
      return (due, state.next)
    }
    if let next { start(next) }
    for entry in due { entry.wakeup.ring(at: entry.time) }
  }
}
