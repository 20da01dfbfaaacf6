internal import EventLoop
package import EventSourcing
package import FoundationEssentials
package import Logging
internal import Machine
internal import Metrics
package import Postgres
internal import ServiceLifecycle
internal import Synchronization

/// How far the serving projections have come on one server of the read store, and which requests wait for them.
///
/// One connection looks for all requests that wait, every few milliseconds. So a request costs the database no more
/// if it waits longer. Looking works on a standby too, where PostgreSQL sends no notifications.
package final class ReadProgress: Service {
  /// A position in a stream that the answer of a query must include.
  package struct Target: Sendable, Hashable {
    /// The name of the projection that the query reads.
    package let projection: String
    /// `StreamID.wideHash`.
    package let stream: UInt64
    /// The position that the projection must have applied in the stream.
    package let position: Position
    /// The history id that the position belongs to.
    package let historyID: UUID

    /// Creates a target.
    package init(projection: String, stream: UInt64, position: Position, historyID: UUID) {
      self.projection = projection
      self.stream = stream
      self.position = position
      self.historyID = historyID
    }
  }

  /// How waiting for a target ended.
  package enum Outcome: Sendable, Hashable {
    /// The projection has applied the position.
    case reached
    /// The deadline passed.
    case late
    /// The stream is parked at or before the position, until an operator resolves that.
    case parked(projection: String)
    /// Too many requests wait already.
    case crowded
  }

  struct Waiter {
    let targets: [Target]
    let deadline: ContinuousClock.Instant
    let continuation: CheckedContinuation<Outcome, Never>
  }

  struct State {
    var serving: [String: ServingProgress] = [:]
    /// When the last successful look began.
    var readAt: ContinuousClock.Instant?
    var waiters: [Int: Waiter] = [:]
    var next = 0
    var isFailing = false
  }

  /// The maximum number of requests that wait at once.
  static let crowd = 10_000

  let read: @Sendable (_ historyID: UUID?) async throws -> ProgressReading
  let heads: StoreHeads
  let activity: Activity
  let logger: Logger
  let state = Mutex(State())
  let wakeup = Wakeup()
  /// Signalled when a request waits and none did before.
  let firstWaiter = Wakeup()
  let waiting = Gauge(label: "query_waiters")
  private let waits = Metrics.Timer(label: "query_wait_seconds")
  let host: String
  let began = Machine.now

  /// Watches one server of the read store.
  /// - Parameters:
  ///   - pool: connections to one server of the read store; one is used at a time.
  ///   - host: the server's name in metrics.
  ///   - heads: the heads of the write store, to compare with.
  ///   - activity: tells whether requests arrive, so that an idle process asks rarely.
  ///   - logger: gets failed attempts.
  package convenience init(
    _ pool: PostgresPool, host: String, heads: StoreHeads, activity: Activity, logger: Logger
  ) {
    self.init(host: host, heads: heads, activity: activity, logger: logger) {
      try await ProgressReading(pool, of: $0)
    }
  }

  /// - Parameter read: reads how far the serving projections have come in the history with this id; nil while that is
  ///   not known.
  package init(
    host: String, heads: StoreHeads, activity: Activity, logger: Logger,
    read: @escaping @Sendable (_ historyID: UUID?) async throws -> ProgressReading
  ) {
    self.read = read
    self.heads = heads
    self.activity = activity
    self.logger = logger
    self.host = host
  }

  /// Whether the server answered the last look.
  package var isAlive: Bool {
    state.withLock { state in !state.isFailing && state.readAt != nil }
  }

  /// The positions of partitions at one time. As long as the mark stays the same, none of their rows has changed.
  package struct Mark: Sendable, Hashable {
    struct Part: Sendable, Hashable {
      let generation: Int
      let historyID: UUID?
      /// The position of the one partition, or a hash of the positions of all.
      let position: Int64
      let parked: UInt64
    }

    let parts: [Part]
  }

  /// Returns the positions of everything that is read: the partition of one stream, or all partitions of a
  /// projection. Returns nil while that is unknown.
  package func mark(of reads: [Reads]) -> Mark? {
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

  /// Whether the last successful look began at most two intervals ago. After a pause, and while the server hangs, it
  /// did not.
  package var isCurrent: Bool {
    state.withLock { state in
      state.readAt.map { Machine.now - $0 <= activity.busy * 2 } ?? false
    }
  }

  /// Records a query. If there was none for some time, the next look begins at once.
  private func note() {
    heads.note()
    if activity.note() { wakeup.signal() }
  }

  /// Returns the number of the generation that serves; nil while it is unknown.
  package func generation(of projection: String) -> Int? { state.withLock { $0.serving[projection]?.generation } }

  /// Returns how fresh an answer is that is read from now on; nil while nothing is known of one of its projections.
  package func freshness(of reads: [Reads]) -> Freshness? {
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

  /// Returns the position in a history up to which the projections have applied every event except those of parked
  /// streams; nil while it is unknown.
  package func applied(by reads: [Reads], in historyID: UUID) -> Position? {
    note()
    let serving = state.withLock { $0.serving }
    var result: Position?
    for read in reads {
      guard let one = serving[read.projection], one.historyID == historyID, !one.isOfAnother else { return nil }
      let progress = one.progress(of: read)
      // Until all partitions have been seen complete, the position is only the last event of one of them.
      guard progress.asOf != nil else { return nil }
      result = min(result ?? progress.position, progress.position)
    }
    return result
  }

  /// Returns whether the last look has seen the targets reached.
  package func hasReached(_ targets: [Target]) -> Bool {
    state.withLock { Self.outcome(of: targets, $0) == .reached }
  }

  /// Returns the sum of the positions in the targets' partitions. It shows which of several servers is ahead.
  package func advance(toward targets: [Target]) -> Int64 {
    let serving = state.withLock { $0.serving }
    return targets.reduce(0) { sum, target in
      guard let progress = serving[target.projection] else { return sum }
      return sum &+ progress.positions[progress.partition(of: target.stream)]
    }
  }

  /// Waits until the projections have reached the targets.
  package func wait(for targets: [Target], until deadline: ContinuousClock.Instant) async -> Outcome {
    note()
    let known = state.withLock { Self.outcome(of: targets, $0) }
    if let known { return known }
    let start = Machine.now
    defer { waits.record(duration: Machine.now - start) }
    let id = state.withLock { state in
      state.next += 1
      return state.next
    }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let outcome: Outcome? = state.withLock { state in
          // The targets may have been reached in between.
          if let outcome = Self.outcome(of: targets, state) { return outcome }
          guard state.waiters.count < Self.crowd else { return .crowded }
          guard !Task.isCancelled else { return .late }
          if state.waiters.isEmpty { firstWaiter.signal() }
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

  /// Returns nil while the outcome is open. What a server said before it stopped answering may not be there any more: a crash
  /// may have undone its last transactions.
  static func outcome(of targets: [Target], _ state: State) -> Outcome? {
    state.isFailing ? nil : outcome(of: targets, state.serving)
  }

  /// Returns nil while the outcome is open.
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
