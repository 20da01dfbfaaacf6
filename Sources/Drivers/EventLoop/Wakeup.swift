import Synchronization

/// A flag that one task waits for. Signals that arrive while no task waits count as one.
public final class Wakeup: Sendable {
  private struct State {
    var isSignalled = false
    var waiter: CheckedContinuation<Void, Never>?
  }

  private let state = Mutex(State())

  public init() {}

  public func signal() {
    let waiter = state.withLock { state in
      defer { state.waiter = nil }
      state.isSignalled = state.waiter == nil
      return state.waiter
    }
    waiter?.resume()
  }

  /// Waits for a signal, for `timeout`, or until the task is cancelled, and clears the signal.
  public func wait(upTo timeout: Duration) async {
    let isSignalled = state.withLock { state in
      defer { state.isSignalled = false }
      return state.isSignalled
    }
    guard !isSignalled, timeout > .zero else { return }
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.wait() }
      group.addTask { try? await Task.sleep(for: timeout) }
      await group.next()
      group.cancelAll()
    }
  }

  private func wait() async {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = state.withLock { state in
          if state.isSignalled || Task.isCancelled {
            state.isSignalled = false
            return true
          }
          precondition(state.waiter == nil, "one task at a time waits")
          state.waiter = continuation
          return false
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      let waiter = state.withLock { state in
        defer { state.waiter = nil }
        return state.waiter
      }
      waiter?.resume()
    }
  }
}
