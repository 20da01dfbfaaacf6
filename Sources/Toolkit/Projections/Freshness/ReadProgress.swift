internal import EventLoop
public import EventSourcing
public import FoundationEssentials
public import Logging
internal import Metrics
public import Postgres
public import ServiceLifecycle
internal import Synchronization

/// How far the projections that serve have come, as one server of the read store shows it, and who waits for them.
///
/// One connection looks for all who wait, every few milliseconds while anybody does: what a request costs the database
/// does not grow with how long it waits. Looking works on a standby too, where nobody is notified of anything.
public final class ReadProgress: Service {
  /// What a query must not be without.
  public struct Target: Sendable, Hashable {
    public let projection: String
    /// `StreamID.wideHash`.
    public let stream: UInt64
    public let position: Position
    /// The history that the position is of.
    public let historyID: UUID

    public init(projection: String, stream: UInt64, position: Position, historyID: UUID) {
      self.projection = projection
      self.stream = stream
      self.position = position
      self.historyID = historyID
    }
  }

  public enum Outcome: Sendable, Hashable {
    case reached
    /// The time was over.
    case late
    /// The stream waits at an event that was refused, and does not come before somebody has repaired that.
    case parked(projection: String)
    /// So many wait already.
    case crowded
  }

  struct Waiter {
    let targets: [Target]
    let deadline: ContinuousClock.Instant
    let continuation: CheckedContinuation<Outcome, Never>
  }

  struct State {
    var serving: [String: ServingProgress] = [:]
    /// When the last look that was answered began.
    var readAt: ContinuousClock.Instant?
    var waiters: [Int: Waiter] = [:]
    var next = 0
    var isFailing = false
  }

  /// Requests that may wait at once.
  static let crowd = 10_000

  let pool: PostgresPool
  let heads: StoreHeads
  let activity: Activity
  let logger: Logger
  let state = Mutex(State())
  let wakeup = Wakeup()
  let waiting = Gauge(label: "query_waiters")
  private let waits = Metrics.Timer(label: "query_wait_seconds")
  let host: String
  let began = ContinuousClock.now

  /// - Parameters:
  ///   - pool: on one server of the read store; a connection of it is all that is used at a time.
  ///   - host: what metrics call that server.
  public init(_ pool: PostgresPool, host: String, heads: StoreHeads, activity: Activity, logger: Logger) {
    self.pool = pool
    self.heads = heads
    self.activity = activity
    self.logger = logger
    self.host = host
  }

  /// Whether the server has answered lately.
  public var isAlive: Bool {
    state.withLock { state in !state.isFailing && state.readAt != nil }
  }

  /// Where partitions stood: as long as they stand there, none of their rows has changed.
  public struct Mark: Sendable, Hashable {
    struct Part: Sendable, Hashable {
      let generation: Int
      let historyID: UUID?
      /// The position of the one partition, or what stands for those of all.
      let position: Int64
      let parked: UInt64
    }

    let parts: [Part]
  }

  /// Where everything stands that is read: the partition of one stream, or all partitions of a projection. Nil while that is not
  /// known.
  public func mark(of reads: [Reads]) -> Mark? {
    state.withLock { state in
      guard !state.isFailing else { return nil }
      var parts: [Mark.Part] = []
      parts.reserveCapacity(reads.count)
      for read in reads {
        guard let progress = state.serving[read.projection] else { return nil }
        parts.append(
          Mark.Part(
            generation: progress.generation, historyID: progress.historyID,
            position: read.stream.map { progress.positions[progress.partition(of: $0.wideHash)] }
              ?? progress.positionsMark,
            parked: progress.parkedMark))
      }
      return Mark(parts: parts)
    }
  }

  /// Whether what is known of the server is of this moment, about: of a look that began no more than two intervals ago. After a
  /// pause, and while the server hangs, it is not.
  public var isCurrent: Bool {
    state.withLock { state in
      state.readAt.map { ContinuousClock.now - $0 <= activity.busy * 2 } ?? false
    }
  }

  /// Somebody asks: who looks seldom looks at once.
  private func note() {
    heads.note()
    if activity.note() { wakeup.signal() }
  }

  /// The generation that serves; nil while it is not known.
  public func generation(of projection: String) -> Int? { state.withLock { $0.serving[projection]?.generation } }

  /// How fresh an answer is that is read from now on; nil while nothing is known of one of its projections.
  public func freshness(of reads: [Reads]) -> Freshness? {
    note()
    let serving = state.withLock { $0.serving }
    var result: Freshness?
    for read in reads {
      guard let one = serving[read.projection]?.freshness(of: read) else { return nil }
      guard let sofar = result else {
        result = one
        continue
      }
      let asOf = sofar.asOf.flatMap { first in one.asOf.map { min(first, $0) } }
      result = Freshness(position: min(sofar.position, one.position), asOf: asOf)
    }
    return result
  }

  /// Up to where the projections have applied every event, but for those of streams that wait; nil while that is not known.
  public func applied(by reads: [Reads]) -> Position? {
    note()
    let serving = state.withLock { $0.serving }
    var result: Position?
    for read in reads {
      guard let one = serving[read.projection], !one.isOfAnother else { return nil }
      let progress = one.progress(of: read)
      // Before its partitions were seen to be complete, the last events of some stand for all.
      guard progress.asOf != nil else { return nil }
      result = min(result ?? progress.position, progress.position)
    }
    return result
  }

  /// Whether what is known already has come as far.
  public func hasReached(_ targets: [Target]) -> Bool {
    state.withLock { Self.outcome(of: targets, $0.serving) == .reached }
  }

  /// The sum of positions in the targets' partitions: which of several servers is ahead.
  public func advance(toward targets: [Target]) -> Int64 {
    let serving = state.withLock { $0.serving }
    return targets.reduce(0) { sum, target in
      guard let progress = serving[target.projection] else { return sum }
      return sum &+ progress.positions[progress.partition(of: target.stream)]
    }
  }

  /// Waits until the projections have come as far as the targets say.
  public func wait(for targets: [Target], until deadline: ContinuousClock.Instant) async -> Outcome {
    note()
    let known = state.withLock { Self.outcome(of: targets, $0.serving) }
    if let known { return known }
    let start = ContinuousClock.now
    defer { waits.record(duration: ContinuousClock.now - start) }
    let id = state.withLock { state in
      state.next += 1
      return state.next
    }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let outcome: Outcome? = state.withLock { state in
          // It may have been reached in between.
          if let outcome = Self.outcome(of: targets, state.serving) { return outcome }
          guard state.waiters.count < Self.crowd else { return .crowded }
          guard !Task.isCancelled else { return .late }
          state.waiters[id] = Waiter(targets: targets, deadline: deadline, continuation: continuation)
          return nil
        }
        if let outcome { continuation.resume(returning: outcome) } else { wakeup.signal() }
      }
    } onCancel: {
      let waiter = state.withLock { $0.waiters.removeValue(forKey: id) }
      waiter?.continuation.resume(returning: .late)
    }
  }

  /// nil for not yet.
  static func outcome(of targets: [Target], _ serving: [String: ServingProgress]) -> Outcome? {
    var isReached = true
    for target in targets {
      guard let progress = serving[target.projection], progress.historyID == target.historyID else {
        isReached = false
        continue
      }
      if let place = progress.parked[target.stream], place <= target.position.rawValue {
        return .parked(projection: target.projection)
      }
      if progress.positions[progress.partition(of: target.stream)] < target.position.rawValue { isReached = false }
    }
    return isReached ? .reached : nil
  }
}
