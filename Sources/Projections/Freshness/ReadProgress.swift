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
    public let incarnation: UUID

    public init(projection: String, stream: UInt64, position: Position, incarnation: UUID) {
      self.projection = projection
      self.stream = stream
      self.position = position
      self.incarnation = incarnation
    }
  }

  public enum Outcome: Sendable, Hashable {
    case reached
    /// The time was over.
    case late
    /// The stream waits at an event that was refused, and does not come before somebody has mended that.
    case parked(projection: String)
    /// So many wait already.
    case crowded
  }

  private struct Waiter {
    let targets: [Target]
    let deadline: ContinuousClock.Instant
    let continuation: CheckedContinuation<Outcome, Never>
  }

  private struct State {
    var serving: [String: ServingProgress] = [:]
    var readAt: ContinuousClock.Instant?
    var waiters: [Int: Waiter] = [:]
    var next = 0
    var isFailing = false
  }

  /// Requests that may wait at once.
  static let crowd = 10_000
  /// Between two looks while somebody waits.
  private static let haste = Duration.milliseconds(3)

  private let pool: PostgresPool
  private let heads: StoreHeads
  private let activity: Activity
  private let logger: Logger
  private let state = Mutex(State())
  private let wakeup = Wakeup()
  private let waiting = Gauge(label: "query_waiters")
  private let waits = Metrics.Timer(label: "query_wait_seconds")
  private let host: String
  private let began = ContinuousClock.now

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

  /// Where a partition stood: as long as it stands there, none of its rows has changed.
  public struct Mark: Sendable, Hashable {
    let generation: Int
    let incarnation: UUID?
    let position: Int64
    let parked: UInt64
  }

  /// Where the partition of the stream stands; nil while that is not known.
  public func mark(of reads: Reads) -> Mark? {
    guard let stream = reads.stream else { return nil }
    return state.withLock { state in
      guard !state.isFailing, let progress = state.serving[reads.projection] else { return nil }
      return Mark(
        generation: progress.generation, incarnation: progress.incarnation,
        position: progress.positions[progress.partition(of: stream.wideHash)], parked: progress.parkedMark)
    }
  }

  /// The generation that serves; nil while it is not known.
  public func generation(of projection: String) -> Int? { state.withLock { $0.serving[projection]?.generation } }

  /// How fresh an answer is that is read from now on; nil while nothing is known of one of its projections.
  public func freshness(of reads: [Reads]) -> Freshness? {
    activity.note()
    heads.note()
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
    activity.note()
    heads.note()
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
    activity.note()
    heads.note()
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
  private static func outcome(of targets: [Target], _ serving: [String: ServingProgress]) -> Outcome? {
    var isReached = true
    for target in targets {
      guard let progress = serving[target.projection], progress.incarnation == target.incarnation else {
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

  public func run() async {
    await cancelWhenGracefulShutdown {
      // Whose time is over is answered in time, though the server may take its own.
      async let punctual: Void = self.keepTime()
      while !Task.isCancelled {
        await self.look()
        self.settle()
        self.recordLag()
        let isAwaited = self.state.withLock { !$0.waiters.isEmpty }
        if isAwaited {
          try? await Task.sleep(for: Self.haste)
        } else {
          await self.wakeup.wait(upTo: self.activity.interval)
        }
      }
      await punctual
    }
    // Nobody looks any more.
    let left = state.withLock { state in
      defer { state.waiters = [:] }
      return state.waiters.values.map(\.continuation)
    }
    for continuation in left { continuation.resume(returning: .late) }
  }

  /// Also while the server does not answer: what is known only grows older.
  private func recordLag() {
    let (serving, head) = (state.withLock { $0.serving }, heads.last)
    for name in serving.keys {
      let place = [("projection", name), ("server", host)]
      guard let freshness = serving[name]?.progress(of: Reads(name)) else { continue }
      // Never seen complete: for as long as it has been looked at, at least.
      let age = ContinuousClock.now - (freshness.asOf ?? began)
      Gauge(label: "read_model_lag_seconds", dimensions: place).record(age / .seconds(1))
      if let head {
        Gauge(label: "read_model_lag_positions", dimensions: place)
          .record(max(0, head.rawValue - freshness.position.rawValue))
      }
    }
  }

  private func keepTime() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: .milliseconds(20))
      if state.withLock({ !$0.waiters.isEmpty }) { settle() }
    }
  }

  /// Answers those who have waited long enough, and those whose time is over.
  private func settle() {
    let (settled, left) = state.withLock { state in
      let now = ContinuousClock.now
      var settled: [(CheckedContinuation<Outcome, Never>, Outcome)] = []
      for (id, waiter) in state.waiters {
        guard let outcome = Self.outcome(of: waiter.targets, state.serving) ?? (waiter.deadline <= now ? .late : nil)
        else { continue }
        settled.append((waiter.continuation, outcome))
        state.waiters[id] = nil
      }
      return (settled, state.waiters.count)
    }
    waiting.record(left)
    for (continuation, outcome) in settled { continuation.resume(returning: outcome) }
  }

  private func look() async {
    let known = heads.known
    do {
      let rows = try await pool.query(
        """
        select g.projection, g.generation, g.partition_count,
          case when min(c.incarnation::text) = max(c.incarnation::text) then min(c.incarnation::text) end,
          string_agg((case when \(optional: known.incarnation) is null or c.incarnation = \(optional: known.incarnation)
            then c.position else -1 end)::text, ' ' order by c.partition)
        from projections.generations g
        join projections.checkpoints c on c.projection = g.projection and c.generation = g.generation
        where g.state = 'serving' group by g.projection, g.generation, g.partition_count
        """
      ).decode((String, Int, Int, String?, String).self)
      let parked = try await pool.query(
        """
        select p.projection, p.stream, p.position from projections.parked p
        join projections.generations g on g.projection = p.projection and g.generation = p.generation
        where g.state = 'serving'
        """
      ).decode((String, String, Int64).self)
      state.withLock { state in
        var serving: [String: ServingProgress] = [:]
        for (name, generation, count, only, text) in rows {
          guard let partitioning = Partitioning(count: count) else { continue }
          let positions = text.utf8.split(separator: UInt8(ascii: " ")).map { Int64(Substring($0)) ?? -1 }
          guard positions.count == count else { continue }
          let own = parked.filter { $0.0 == name }.map { (StreamID(rawValue: $0.1).wideHash, $0.2) }
          serving[name] = ServingProgress(
            generation: generation, partitioning: partitioning,
            incarnation: known.incarnation ?? only.flatMap { UUID(uuidString: $0) }, positions: positions,
            parked: Dictionary(own) { first, _ in first }, heads: known.heads, before: state.serving[name])
        }
        state.serving = serving
        state.readAt = .now
        state.isFailing = false
      }
    } catch {
      guard !Task.isCancelled else { return }
      let isNew = state.withLock { state in
        defer { state.isFailing = true }
        return !state.isFailing
      }
      if isNew {
        logger.warning("the read store does not show how far it has come", metadata: ["error": "\(error)"])
      }
      try? await Task.sleep(for: .milliseconds(100))
    }
  }
}
