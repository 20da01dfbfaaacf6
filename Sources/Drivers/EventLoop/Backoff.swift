/// Exponential back-off with jitter. A bound doubles from `first` to `limit`. Each delay is random between half the
/// bound and the bound, so that many waiters do not retry at the same time.
public struct Backoff: Sendable {
  public let first: Duration
  public let limit: Duration
  private var bound: Duration

  public init(first: Duration = .milliseconds(50), limit: Duration = .seconds(5)) {
    self.first = first
    self.limit = limit
    bound = first
  }

  /// Returns the next delay.
  public mutating func next() -> Duration {
    defer { bound = min(bound * 2, limit) }
    return bound * Double.random(in: 0.5...1)
  }

  public mutating func reset() { bound = first }
}
