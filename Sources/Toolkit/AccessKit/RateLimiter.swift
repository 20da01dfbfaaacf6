internal import Machine
internal import Synchronization

/// Limits the requests per second of each caller, with one token bucket per caller.
final class RateLimiter: Sendable {
  /// The maximum number of callers to remember.
  private static let memory = 65_536

  private struct Bucket {
    /// Requests that the caller may make now.
    var left: Double
    var at: ContinuousClock.Instant
  }

  /// Requests per second.
  private let rate: Double
  /// Requests that may come at once after a pause.
  private let burst: Double
  private let buckets = Mutex<[String: Bucket]>([:])

  /// - Parameter rate: requests per second; after a pause, twice as many may come at once.
  init(rate: Int) {
    self.rate = Double(rate)
    burst = 2 * Double(rate)
  }

  /// - Returns: nil if the request may proceed; otherwise the time until one may.
  func take(_ caller: String, at now: ContinuousClock.Instant = Machine.now) -> Duration? {
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

  /// Forgets callers whose bucket is full again, which changes nothing for them. If that frees no room, forgets all.
  private func forget(_ buckets: inout [String: Bucket], at now: ContinuousClock.Instant) {
    let rest = (burst / rate)
    buckets = buckets.filter { (now - $0.value.at) / .seconds(1) < rest }
    if buckets.count >= Self.memory { buckets.removeAll(keepingCapacity: true) }
  }
}
