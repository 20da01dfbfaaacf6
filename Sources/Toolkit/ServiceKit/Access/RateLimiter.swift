internal import Synchronization

/// Lets each of many callers do so much a second and no more: a token bucket for each.
final class RateLimiter: Sendable {
  /// Callers that are remembered.
  private static let memory = 65_536

  private struct Bucket {
    /// Requests that may still be made at once.
    var left: Double
    var at: ContinuousClock.Instant
  }

  /// Requests a second.
  private let rate: Double
  /// Requests at once, after a rest.
  private let burst: Double
  private let buckets = Mutex<[String: Bucket]>([:])

  /// - Parameter rate: requests a second; twice as many may come at once after a rest.
  init(rate: Int) {
    self.rate = Double(rate)
    burst = 2 * Double(rate)
  }

  /// - Returns: nil where the request may be made; otherwise how long until one may.
  func take(_ caller: String, at now: ContinuousClock.Instant = .now) -> Duration? {
    buckets.withLock { buckets in
      var bucket = buckets[caller] ?? Bucket(left: burst, at: now)
      bucket.left = min(burst, bucket.left + (now - bucket.at) / .seconds(1) * rate)
      bucket.at = now
      guard bucket.left >= 1 else {
        buckets[caller] = bucket
        return .seconds((1 - bucket.left) / rate)
      }
      bucket.left -= 1
      if buckets.count >= Self.memory && buckets[caller] == nil { forget(&buckets, at: now) }
      buckets[caller] = bucket
      return nil
    }
  }

  /// Makes room: whoever has rested enough loses nothing by it, and where all are busy, all begin anew.
  private func forget(_ buckets: inout [String: Bucket], at now: ContinuousClock.Instant) {
    let rest = (burst / rate)
    buckets = buckets.filter { (now - $0.value.at) / .seconds(1) < rest }
    if buckets.count >= Self.memory { buckets.removeAll(keepingCapacity: true) }
  }
}
