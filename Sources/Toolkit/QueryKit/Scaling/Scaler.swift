/// The work of a service, as far as the stores show it.
struct ServiceLoad: Sendable, Hashable {
  /// How long the oldest event has waited that a running partition has not applied.
  struct Lag: Sendable, Hashable {
    /// What is behind, such as the name of a read model.
    var of: String
    var age: Duration
    /// How far the partition is behind its head.
    var positions: Int64
  }

  /// The number of processes that run.
  var current: Int
  /// The most processes that can share the work: the number of partitions.
  var limit: Int
  /// Of the slowest partition that runs; nil if none is behind. Stopped partitions do not count: more replicas do not
  /// help them.
  var lag: Lag?
}

/// How many replicas a service should have, and why.
struct ScaleAdvice: Sendable, Hashable {
  var replicas: Int
  var current: Int
  var limit: Int
  var reason: String
}

/// Decides how many replicas the lag of a service asks for.
///
/// From `high` on it asks for more, at most twice as many as run. Between `low` and `high` it keeps what runs. Once the lag
/// has been below `low` for `calm`, it asks for fewer, and repeats that at most once in `calm`. So it does not flap: what
/// raised the number is five times what lowers it.
///
/// A change is more than a tenth of what runs, because the autoscaler of Kubernetes ignores up to a tenth: it is 1 below 10
/// replicas, 2 from 10 to 19, and so on.
struct Scaler: Sendable {
  static let high = Duration.seconds(10)
  static let low = Duration.seconds(2)
  static let calm = Duration.seconds(300)
  /// What was seen longer ago than this says nothing about the time in between.
  static let memory = Duration.seconds(120)

  private var wanted: Int?
  private var calmSince: ContinuousClock.Instant?
  private var seenAt: ContinuousClock.Instant?

  /// - Parameter now: never earlier than at the call before.
  mutating func advise(_ load: ServiceLoad, at now: ContinuousClock.Instant) -> ScaleAdvice {
    if let seenAt, now - seenAt > Self.memory { (wanted, calmSince) = (nil, nil) }
    seenAt = now
    let (replicas, reason) = decide(load, now)
    let limit = max(1, load.limit)
    let bounded = min(max(1, replicas), limit)
    wanted = bounded
    return ScaleAdvice(
      replicas: bounded, current: load.current, limit: limit,
      reason: replicas > limit ? "\(reason), but only \(limit) can share the partitions" : reason)
  }

  private mutating func decide(
    _ load: ServiceLoad, _ now: ContinuousClock.Instant
  ) -> (replicas: Int, reason: String) {
    let known = wanted ?? max(1, load.current)
    guard load.current > 0 else {
      calmSince = nil
      return (known, "no process runs")
    }
    let step = load.current / 10 + 1
    let age = load.lag?.age ?? .zero
    if let lag = load.lag, age >= Self.high {
      calmSince = nil
      let factor = min(2, age / Self.high)
      let needed = max(load.current + step, Int((Double(load.current) * factor).rounded(.up)))
      // Replicas of earlier advice may not have started yet.
      return (max(known, needed), "\(lag.text): more are needed")
    }
    if let lag = load.lag, age >= Self.low {
      calmSince = nil
      return (max(known, load.current), "\(lag.text): the number stays")
    }
    let since = calmSince ?? now
    calmSince = since
    let text = "the lag has been below \(Int(Self.low / .seconds(1))) s for \(Int((now - since) / .seconds(1))) s"
    guard now - since >= Self.calm else { return (known, "\(text): the number stays") }
    calmSince = now
    return (min(known, load.current - step), "\(text): \(step) less \(step == 1 ? "is" : "are") enough")
  }
}

extension ServiceLoad.Lag {
  fileprivate var text: String {
    let tenths = Int((age / .milliseconds(100)).rounded())
    return "\(of) is \(tenths / 10).\(tenths % 10) s and \(positions) positions behind"
  }
}
