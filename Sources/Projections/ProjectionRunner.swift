internal import EventLoop
internal import EventRelay
internal import EventSourcing
internal import FoundationEssentials
internal import Logging
internal import Metrics
internal import Postgres
internal import PostgresEventStore

/// Runs one projection over all its pairs: takes deliveries, catches up from the store, and writes rows
/// and checkpoints in one transaction a round.
actor ProjectionRunner {
  struct Settings: Sendable {
    var partitioning: Partitioning
    /// Events in one transaction.
    var batchSize: Int
    /// How often every pair is compared with its partition's head.
    var headInterval: Duration
    /// When a pair that was halted is tried again.
    var haltRetry: Duration
  }

  private typealias Work = (events: [RecordedEvent], advance: CheckpointStore.Advance)

  private let projection: AnyProjection
  private let checkpoints: CheckpointStore
  private let readStore: PostgresPool
  private let store: PostgresEventStore
  private let settings: Settings
  private let isActive: @Sendable () async -> Bool
  private let logger: Logger
  private let metrics: ProjectionMetrics
  nonisolated let mailbox: Mailbox
  private var pairs: [Pair] = []
  private var nextHeadCheck = ContinuousClock.now
  private var firstToCatchUp = 0

  init(
    _ projection: AnyProjection, owner: UUID, readStore: PostgresPool, store: PostgresEventStore, mailbox: Mailbox,
    settings: Settings, isActive: @escaping @Sendable () async -> Bool, logger: Logger
  ) {
    self.projection = projection
    checkpoints = CheckpointStore(projection: projection.name, owner: owner)
    self.readStore = readStore
    self.store = store
    self.mailbox = mailbox
    self.settings = settings
    self.isActive = isActive
    var logger = logger
    logger[metadataKey: "projection"] = "\(projection.name)"
    self.logger = logger
    metrics = ProjectionMetrics(projection.name)
  }

  /// Projects until the task is cancelled; the transaction in hand is finished first.
  /// - Throws: `FencedError` when another projector has taken over, `PartitioningError`.
  func run() async throws {
    var backoff = Backoff(first: .milliseconds(100))
    var mustClaim = true
    while !Task.isCancelled {
      do {
        if mustClaim { try await claim() }
        mustClaim = false
        if try await step() { backoff.reset() }
      } catch let error as FencedError {
        throw error
      } catch let error as PartitioningError {
        throw error
      } catch {
        guard !Task.isCancelled else { return }
        // The servers are at fault: what was taken is read from the store again, from the checkpoints
        // as they stand there.
        metrics.retries.increment()
        logger.error("interrupted; trying again", metadata: ["error": "\(error)"])
        mustClaim = true
        try? await Task.sleep(for: backoff.next())
      }
    }
  }

  /// - Throws: `FencedError` when this process is not the active one any more: it may have slept, and must
  ///   not take the pairs away from its successor.
  private func claim() async throws {
    guard await isActive() else { throw FencedError(projection: projection.name) }
    let incarnation = try await store.incarnation()
    pairs = try await checkpoints.claim(settings.partitioning, incarnation: incarnation, on: readStore)
    for index in pairs.indices where pairs[index].incarnation != incarnation {
      pairs[index].mode = .forked
      report(.forked("the store is incarnation \(incarnation) now"), of: pairs[index])
    }
    nextHeadCheck = .now
  }

  /// - Returns: whether anything was applied.
  private func step() async throws -> Bool {
    if ContinuousClock.now >= nextHeadCheck { try await checkHeads() }
    var next = pairs
    var work: [Int: [RecordedEvent]] = [:]
    // While pairs are behind, they have half of every round, however much is delivered.
    let isBehind = next.contains { $0.mode == .catchingUp }
    for batch in mailbox.take(events: isBehind ? max(1, settings.batchSize / 2) : settings.batchSize) {
      let index = batch.partition.index
      guard batch.partition.partitioning == settings.partitioning else { continue }
      let verdict = next[index].receive(batch)
      if case .apply(let events) = verdict { work[index, default: []] += events }
      report(verdict, of: next[index])
    }
    // The checkpoint's own event comes again, as proof of the history.
    let limit = settings.batchSize + 1
    var room = max(settings.batchSize / 2, settings.batchSize - work.values.reduce(0) { $0 + $1.count }, 1)
    // Each round begins at another pair, so that none waits behind the others.
    firstToCatchUp = (firstToCatchUp + 1) % next.count
    for index in Array(firstToCatchUp..<next.count) + Array(0..<firstToCatchUp)
    where next[index].mode == .catchingUp && work[index] == nil && room > 0 {
      let events = try await store.events(
        in: next[index].partition, from: next[index].checkpoint.position, limit: limit)
      let verdict = next[index].catchUp(events, limit: limit)
      if case .apply(let events) = verdict {
        work[index] = events
        room -= events.count
        firstToCatchUp = index
      }
      report(verdict, of: next[index])
    }
    // What has no rows to write is settled; the others are when their transaction is.
    for index in next.indices where work[index] == nil { pairs[index] = next[index] }
    guard !work.isEmpty else {
      if pairs.allSatisfy({ $0.mode != .catchingUp }) {
        await mailbox.wakeup.wait(upTo: max(nextHeadCheck - .now, .milliseconds(1)))
      }
      return false
    }
    try await apply(
      work.sorted { $0.key < $1.key }.map { index, events in
        let advance = CheckpointStore.Advance(
          partition: next[index].partition, from: pairs[index].checkpoint, to: next[index].checkpoint)
        return (events, advance)
      }, next)
    return true
  }

  private func checkHeads() async throws {
    nextHeadCheck = .now + settings.headInterval
    let incarnation = try await store.incarnation()
    let heads = try await store.heads(of: settings.partitioning)
    var lag: Int64 = 0
    for index in pairs.indices {
      if case .halted(let retryAt) = pairs[index].mode, ContinuousClock.now >= retryAt {
        pairs[index].mode = .catchingUp
      }
      if pairs[index].incarnation != incarnation && pairs[index].mode != .forked {
        pairs[index].mode = .forked
        report(.forked("the store is incarnation \(incarnation) now"), of: pairs[index])
      }
      report(pairs[index].observe(heads[index]), of: pairs[index])
      lag = max(lag, heads[index].position.rawValue - pairs[index].checkpoint.position.rawValue)
    }
    metrics.lag.record(lag)
    metrics.stopped.record(
      pairs.count { pair in
        if case .halted = pair.mode { true } else { pair.mode == .forked }
      })
  }

  private func report(_ verdict: Pair.Verdict, of pair: Pair) {
    switch verdict {
    case .duplicate, .notLive, .apply: break
    case .hole:
      metrics.holes.increment()
      logger.debug("deliveries are missing; reading the store", metadata: ["partition": "\(pair.partition)"])
    case .forked(let reason):
      logger.critical(
        "this partition's history has forked; it stops until the projection is rebuilt",
        metadata: ["partition": "\(pair.partition)", "reason": "\(reason)"])
    }
  }
}

// MARK: Writing
extension ProjectionRunner {
  /// Writes rows and checkpoints of all `work` in one transaction. When an event is refused, the others
  /// go on: first each pair by itself, then, in the pair that fails, each event.
  private func apply(_ work: [Work], _ next: [Pair]) async throws {
    do {
      try await write(work)
      for work in work { settle(work.advance, next) }
    } catch {
      guard Self.isRefusal(error) else { throw error }
      guard work.count == 1 else {
        for one in work { try await apply([one], next) }
        return
      }
      try await isolate(work[0], next)
    }
  }

  /// Applies a pair's events one by one up to the one that is refused, and halts the pair there.
  private func isolate(_ work: Work, _ next: [Pair]) async throws {
    var reached = work.advance.from
    for event in work.events {
      let to = Checkpoint(position: event.position, eventID: event.id)
      let advance = CheckpointStore.Advance(partition: work.advance.partition, from: reached, to: to)
      do {
        try await write([([event], advance)])
        settle(advance, next)
        reached = to
      } catch {
        guard Self.isRefusal(error) else { throw error }
        return await halt(work.advance.partition, at: event, error)
      }
    }
  }

  private func write(_ work: [Work]) async throws {
    let (projection, checkpoints) = (projection, checkpoints)
    let events = work.flatMap(\.events)
    let advances = work.map(\.advance)
    let readStore = readStore
    // A task of its own, so that a shutdown lets the transaction in hand finish.
    try await Task {
      try await readStore.transaction { connection in
        try projection.write(connection, events)
        try checkpoints.advance(advances, on: connection)
      }
    }.value
    metrics.events.increment(by: events.count)
    metrics.batchSize.record(events.count)
  }

  private func settle(_ advance: CheckpointStore.Advance, _ next: [Pair]) {
    let index = advance.partition.index
    pairs[index] = next[index]
    pairs[index].checkpoint = advance.to
  }

  private func halt(_ partition: Partition, at event: RecordedEvent, _ error: any Error) async {
    metrics.refused.increment()
    logger.critical(
      "an event was refused; its partition stops here and is tried again later",
      metadata: [
        "partition": "\(partition)", "position": "\(event.position)", "stream": "\(event.stream)",
        "type": "\(event.type)", "error": "\(error)",
      ])
    pairs[partition.index].mode = .halted(retryAt: .now + settings.haltRetry)
    do {
      try await checkpoints.halt(partition, at: event.position, error: "\(error)", on: readStore)
    } catch {
      logger.error("cannot record that a partition has stopped", metadata: ["error": "\(error)"])
    }
  }

  /// True when the event, and not a server, is at fault.
  private static func isRefusal(_ error: any Error) -> Bool {
    switch error {
    case let error as PostgresError:
      if case .server(let state) = error.code { !state.isInfrastructure } else { error.code == .decoding }
    case is FencedError, is CancellationError: false
    default: true
    }
  }
}

private struct ProjectionMetrics {
  let events: Counter
  let holes: Counter
  let refused: Counter
  let retries: Counter
  let lag: Gauge
  let stopped: Gauge
  let batchSize: Recorder

  init(_ projection: String) {
    let dimensions = [("projection", projection)]
    events = Counter(label: "projection_events_applied_total", dimensions: dimensions)
    holes = Counter(label: "projection_holes_total", dimensions: dimensions)
    refused = Counter(label: "projection_events_refused_total", dimensions: dimensions)
    retries = Counter(label: "projection_interruptions_total", dimensions: dimensions)
    lag = Gauge(label: "projection_lag_positions", dimensions: dimensions)
    stopped = Gauge(label: "projection_pairs_stopped", dimensions: dimensions)
    batchSize = Recorder(label: "projection_batch_size", dimensions: dimensions)
  }
}
