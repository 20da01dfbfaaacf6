/// Exponential back-off with jitter: each delay is drawn from the upper half of a bound that doubles
/// from `first` to `limit`, so that many waiters do not come back in step.
public struct Backoff: Sendable {
  public let first: Duration
  public let limit: Duration
  private var bound: Duration

  public init(first: Duration = .milliseconds(50), limit: Duration = .seconds(5)) {
    self.first = first
    self.limit = limit
    bound = first
  }

  public mutating func next() -> Duration {
    defer { bound = min(bound * 2, limit) }
    return bound * Double.random(in: 0.5...1)
  }

  public mutating func reset() { bound = first }
}
