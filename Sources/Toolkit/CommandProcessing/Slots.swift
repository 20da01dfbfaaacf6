internal import Synchronization

/// Limits how many tasks run at once. `take` does not wait: it returns false if no slot is free.
final class Slots: Sendable {
  private let free: Atomic<Int>

  init(_ count: Int) { free = Atomic(count) }

  func take() -> Bool {
    if free.subtract(1, ordering: .relaxed).newValue >= 0 { return true }
    free.add(1, ordering: .relaxed)
    return false
  }

  func giveBack() { free.add(1, ordering: .relaxed) }
}
