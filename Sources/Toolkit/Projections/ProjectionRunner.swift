internal import EventLoop
internal import EventSourcing
internal import Failures
internal import FoundationEssentials
internal import Logging
internal import Metrics
internal import Postgres
internal import PostgresEventStore
internal import Synchronization

/// Runs one lane of a generation: shares its assignments with the other workers, takes deliveries, catches up from the
/// store, and writes rows and checkpoints in one transaction a round.
actor ProjectionRunner {
  struct Settings: Sendable {
    /// Events in one transaction.
    var batchSize: Int
    /// How often every assignment is compared with its partition's head, and the assignments are shared anew.
    var headInterval: Duration
    /// When an assignment that was halted is tried again.
    var haltRetry: Duration
    /// Streams of one assignment that are parked within a minute; at the next one the assignment is halted instead.
    var parkLimit: Int
    /// After failing for so long a lane leaves its assignments to other workers.
    var patience: Duration
  }

  struct Work {
    let assignment: PartitionAssignment
    /// As they came: those of parked streams, or of other categories, only move the checkpoint.
    let events: ArraySlice<RecordedEvent>
  }

  let projection: Projection
  nonisolated let generation: Generation
  let store: AssignmentStore
  let readStore: PostgresPool
  let events: PostgresEventStore
  let settings: Settings
  let rounds: SharedRounds
  let headReader: HeadReader
  private let budget: MemoryBudget
  let logger: Logger
  let metrics: ProjectionMetrics
  let spans = EventSpans()
  nonisolated let mailbox: Mailbox

  var assignments: [Int: PartitionAssignment] = [:]
  /// Checkpoints as the read store has them; an assignment whose events concern no row is ahead of its own.
  var stored: [Int: Checkpoint] = [:]
  var parked: [Int: Set<StreamID>] = [:]
  var reported: [Int: PartitionAssignment.Mode] = [:]
  /// Of the assignments that are this lane's.
  var partitionLags: [Int: Gauge] = [:]
  var recentlyParked: [Int: [ContinuousClock.Instant]] = [:]
  var nextHeadCheck = ContinuousClock.now
  private var nextFlush = ContinuousClock.now
  /// As `SharedRounds` knows it.
  nonisolated var lane: SharedRounds.Lane { ObjectIdentifier(mailbox) }
  private var firstToCatchUp = 0
  private var isRetired = false
  let suspended = Atomic(false)

  /// Whether it has failed for long, and has left its assignments to others until it sees both stores again.
  nonisolated var isSuspended: Bool { suspended.load(ordering: .relaxed) }

  init(
    _ projection: Projection, _ store: AssignmentStore, readStore: PostgresPool, rounds: SharedRounds,
    events: PostgresEventStore, headReader: HeadReader, budget: MemoryBudget, settings: Settings, logger: Logger
  ) {
    self.projection = projection
    self.store = store
    generation = store.generation
    self.readStore = readStore
    self.rounds = rounds
    self.headReader = headReader
    self.events = events
    self.budget = budget
    mailbox = Mailbox(budget)
    self.settings = settings
    var logger = logger
    logger[metadataKey: "projection"] = "\(projection.name)"
    logger[metadataKey: "generation"] = "\(store.generation.number)"
    self.logger = logger
    metrics = ProjectionMetrics(projection.name, generation.number, store.lane)
  }

  /// Ends the runner once its round is over.
  func retire() {
    isRetired = true
    mailbox.wakeup.signal()
  }

  /// Projects until it is retired or the task is cancelled; the transaction in hand is finished first, and the
  /// assignments are given up for others to take.
  func run() async {
    var backoff = Backoff(first: .milliseconds(100))
    var isSure = false
    var failingSince: ContinuousClock.Instant?
    while !Task.isCancelled, !isRetired {
      do {
        if !isSure {
          adopt(try await store.owned(on: readStore), replacing: true)
          try await loadParked(assignments.values.map(\.partition))
          nextHeadCheck = .now
          isSure = true
        }
        if try await step() { backoff.reset() }
        failingSince = nil
      } catch {
        rounds.settle(lane)
        guard !Task.isCancelled else { break }
        // What was taken is read from the store again, from the checkpoints as they stand there.
        isSure = false
        if error is FencedError {
          metrics.fenced.increment()
          logger.warning("others have taken assignments over", metadata: ["error": "\(error)"])
        } else {
          metrics.retries.increment()
          logInterruption(error)
          failingSince = failingSince ?? .now
          if ContinuousClock.now - failingSince! > settings.patience { await standAside() }
        }
        try? await Task.sleep(for: backoff.next())
      }
    }
    rounds.settle(lane)
    // Also when cancelled: in a task of its own.
    let (store, pool, mine) = (store, readStore, assignments.values.map(\.partition))
    await Task { try? await store.release(mine, on: pool) }.value
    mailbox.accept([])
    adopt([], replacing: true)
    metrics.end()
  }

  private func standAside() async {
    guard !isSuspended else { return }
    suspended.store(true, ordering: .relaxed)
    metrics.suspended.increment()
    logger.critical("failing for long; the assignments are left to other workers until both stores answer")
    let mine = assignments.values.map(\.partition)
    adopt([], replacing: true)
    // Should this fail too, they lapse with the worker's row, or are its own again when it recovers.
    do { try await store.release(mine, on: readStore) } catch {
      logger.error("cannot give the assignments up", metadata: ["error": "\(error)"])
    }
  }

  /// - Returns: whether anything was applied.
  private func step() async throws -> Bool {
    if ContinuousClock.now >= nextHeadCheck { try await checkHeads() }
    var next = assignments
    var work: [Int: [RecordedEvent]] = [:]
    // Half of a round is kept for assignments that are behind, so that neither they nor the feed starve.
    let isBehind = assignments.values.contains { $0.mode == .catchingUp }
    for batch in mailbox.take(events: isBehind ? max(1, settings.batchSize / 2) : settings.batchSize) {
      let index = batch.partition.index
      guard batch.partition.partitioning == generation.partitioning, var assignment = next[index] else { continue }
      let verdict = assignment.receive(batch)
      next[index] = assignment
      if case .apply(let events) = verdict { work[index, default: []] += events }
      if verdict == .duplicate { metrics.duplicates.increment() }
      report(verdict, of: assignment)
    }
    var bytes = budget.half
    var room = max(settings.batchSize / 2, settings.batchSize - work.values.reduce(0) { $0 + $1.count }, 1)
    // Each round begins at another assignment, so that none waits behind the others.
    let order = next.keys.sorted()
    firstToCatchUp += 1
    for offset in order.indices {
      let index = order[(firstToCatchUp + offset) % order.count]
      guard var assignment = next[index], assignment.mode == .catchingUp, work[index] == nil, room > 0, bytes > 0
      else { continue }
      guard let page = try await page(behind: &assignment, bytes: bytes) else {
        next[index] = assignment
        continue
      }
      let verdict = assignment.catchUp(page)
      next[index] = assignment
      if case .apply(let events) = verdict {
        work[index] = events
        room -= events.count
        bytes -= events.reduce(0) { $0 + $1.data.count + $1.metadata.count }
        if room <= 0 || bytes <= 0 { firstToCatchUp += offset }
      }
      report(verdict, of: assignment)
    }
    // What has no rows to write is settled; the others are when their transaction is.
    for (index, assignment) in next where !concernsRows(work[index] ?? [], index) { assignments[index] = assignment }
    let due = work.filter { concernsRows($0.value, $0.key) }
    guard !due.isEmpty else {
      try await flush()
      rounds.settle(lane)
      if assignments.values.allSatisfy({ $0.mode != .catchingUp }), !isRetired {
        // What is settled and not written is written soon: queries with a token may wait for it.
        let isAhead = assignments.contains { stored[$0.key] != $0.value.checkpoint }
        let next = isAhead ? min(nextHeadCheck, nextFlush) : nextHeadCheck
        await mailbox.wakeup.wait(upTo: max(next - .now, .milliseconds(1)))
      }
      return false
    }
    try await apply(due.sorted { $0.key < $1.key }.map { Work(assignment: next[$0.key]!, events: $0.value[...]) })
    return true
  }

  /// What an assignment has not come to; nil where it cannot be read, which stops the assignment.
  private func page(behind assignment: inout PartitionAssignment, bytes: Int) async throws -> PartitionPage? {
    do throws(EventStoreError) {
      // The checkpoint's own event comes again, as proof of the history.
      return try await events.page(
        of: assignment.partition, from: assignment.checkpoint.position, categories: projection.categories,
        limit: PageLimit(events: settings.batchSize + 1, bytes: bytes))
    } catch {
      switch error.failureKind {
      case .retry, .historyChanged: throw error
      case .refused, .programmingError:
        logger.critical(
          "this partition cannot be read; it stops here and is tried again later",
          metadata: ["partition": "\(assignment.partition)", "error": "\(error)"])
        assignment.halt(at: assignment.checkpoint.position, "\(error)", retryAt: .now + settings.haltRetry)
        return nil
      }
    }
  }

  private func logInterruption(_ error: any Error) {
    let metadata: Logger.Metadata = ["error": "\(error)"]
    switch FailureKind(error) {
    case .retry: logger.error("interrupted; trying again", metadata: metadata)
    case .historyChanged:
      logger.critical("the write store's history has changed: nothing is applied until it is known", metadata: metadata)
    case .refused, .programmingError:
      logger.critical("interrupted by what looks like a defect; trying again", metadata: metadata)
    }
  }

  private func concernsRows(_ events: [RecordedEvent], _ index: Int) -> Bool {
    events.contains { projection.takes($0) && !(parked[index]?.contains($0.stream) ?? false) }
  }

  /// Writes the checkpoints of assignments whose events concerned no row, now and then.
  func flush(now isDue: Bool = false) async throws {
    guard isDue || ContinuousClock.now >= nextFlush else { return }
    nextFlush = rounds.next(within: min(settings.headInterval, .milliseconds(50)))
    let behind = assignments.filter { stored[$0.key] != $0.value.checkpoint }
    guard !behind.isEmpty else { return }
    try await write(behind.sorted { $0.key < $1.key }.map { Work(assignment: $0.value, events: []) }, isUrgent: isDue)
  }
}
