internal import Machine

/// Exponential back-off with jitter. A bound doubles from `first` to `limit`. Each delay is random between half the
/// bound and the bound, so that many waiters do not retry at the same time.
package struct Backoff: Sendable {
  package let first: Duration
  package let limit: Duration
  private var bound: Duration

  package init(first: Duration = .milliseconds(50), limit: Duration = .seconds(5)) {
    self.first = first
    self.limit = limit
    bound = first
  }

  /// Returns the next delay.
  package mutating func next() -> Duration {
    defer { bound = min(bound * 2, limit) }
    var chance = Machine.chance
    return bound * Double.random(in: 0.5...1, using: &chance)
  }

  package mutating func reset() { bound = first }
}
