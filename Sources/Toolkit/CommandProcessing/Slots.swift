internal import Synchronization

/// So many may do something at once.
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
