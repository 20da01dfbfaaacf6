internal import EventLoop
internal import EventSourcing
internal import Failures
internal import FoundationEssentials
internal import Logging
internal import Machine
internal import Metrics
internal import PostgresEventStore
internal import Synchronization

/// Runs one lane of a generation. It shares the assignments with other workers, takes messages, catches up from the
/// store, and writes rows and checkpoints in one transaction per round.
actor ProjectionRunner {
  struct Settings: Sendable {
    /// The number of events in one transaction, at most.
    var batchSize: Int
    /// How often each assignment is compared with its partition's head, and the assignments are shared again.
    var headInterval: Duration
    /// How long a halted assignment waits until it is tried again.
    var haltRetry: Duration
    /// How many streams of one assignment may be parked within a minute. At the next one the assignment halts
    /// instead.
    var parkLimit: Int
    /// How long a lane may fail before it leaves its assignments to other workers.
    var patience: Duration
  }

  struct Work {
    let assignment: PartitionAssignment
    /// As received. Events of parked streams or of other categories only move the checkpoint.
    let events: ArraySlice<RecordedEvent>

    /// Returns the work on some of its events, in succession.
    func part(_ events: ArraySlice<RecordedEvent>) -> Work {
      var assignment = assignment
      if let last = events.last { assignment.checkpoint = Checkpoint(position: last.position, eventID: last.id) }
      return Work(assignment: assignment, events: events)
    }
  }

  let projection: Projection
  nonisolated let generation: Generation
  let lane: Lane
  let store: any ProjectionStore
  let events: any EventStore
  let settings: Settings
  let rounds: SharedRounds
  let headReader: HeadReader
  private let budget: MemoryBudget
  let logger: Logger
  let metrics: ProjectionMetrics
  let spans = EventSpans()
  nonisolated let mailbox: Mailbox

  var assignments: [Int: PartitionAssignment] = [:]
  /// The checkpoints in the read store. An assignment whose events change no row may be ahead of its stored
  /// checkpoint.
  var stored: [Int: Checkpoint] = [:]
  var parked: [Int: Set<StreamID>] = [:]
  /// Events behind the stored checkpoint that are handled, since nothing follows from them.
  var unwritten: [Int: Ledger.Addition] = [:]
  var reported: [Int: PartitionAssignment.Mode] = [:]
  /// Of the assignments that this lane owns.
  var partitionLags: [Int: Gauge] = [:]
  var recentlyParked: [Int: [ContinuousClock.Instant]] = [:]
  var nextHeadCheck = Machine.now
  private var nextFlush = Machine.now
  /// When parked streams are looked for though none is known.
  var nextParkedLook = Machine.now
  /// The lane's identity in `SharedRounds`.
  nonisolated var laneID: SharedRounds.Lane { ObjectIdentifier(mailbox) }
  private var firstToCatchUp = 0
  private var isRetired = false
  let suspended = Atomic(false)

  /// Whether the lane is suspended: it failed for long, and left its assignments to other workers until it reaches
  /// both stores again.
  nonisolated var isSuspended: Bool { suspended.load(ordering: .relaxed) }

  init(
    _ projection: Projection, _ lane: Lane, store: any ProjectionStore, rounds: SharedRounds,
    events: any EventStore, headReader: HeadReader, budget: MemoryBudget, settings: Settings, logger: Logger
  ) {
    self.projection = projection
    self.lane = lane
    generation = lane.generation
    self.store = store
    self.rounds = rounds
    self.headReader = headReader
    self.events = events
    self.budget = budget
    mailbox = Mailbox(budget)
    self.settings = settings
    var logger = logger
    logger[metadataKey: "projection"] = "\(projection.name)"
    logger[metadataKey: "generation"] = "\(generation.number)"
    self.logger = logger
    metrics = ProjectionMetrics(projection.name, generation.number, lane.number)
  }

  /// Ends the runner after its current round.
  func retire() {
    isRetired = true
    mailbox.wakeup.signal()
  }

  /// Projects until the runner is retired or the task is cancelled. It then finishes the current transaction, and
  /// releases its assignments for other workers.
  func run() async {
    var backoff = Backoff(first: .milliseconds(100))
    var isSure = false
    var failingSince: ContinuousClock.Instant?
    while !Task.isCancelled, !isRetired {
      do {
        if !isSure {
          adopt(try await store.owned(lane), replacing: true)
          try await loadParked(assignments.values.map(\.partition))
          nextHeadCheck = Machine.now
          isSure = true
        }
        if try await step() { backoff.reset() }
        failingSince = nil
      } catch {
        rounds.settle(laneID)
        guard !Task.isCancelled else { break }
        // The events in hand are read from the store again, from the checkpoints in the read store.
        isSure = false
        if error is FencedError {
          metrics.fenced.increment()
          logger.warning("other workers took over assignments", metadata: ["error": "\(error)"])
        } else {
          metrics.retries.increment()
          logInterruption(error)
          failingSince = failingSince ?? Machine.now
          if Machine.now - failingSince! > settings.patience { await standAside() }
        }
        try? await Machine.sleep(for: backoff.next())
      }
    }
    rounds.settle(laneID)
    // In a separate task, so that it also runs after cancellation.
    let (store, lane, mine) = (store, lane, assignments.values.map(\.partition))
    await Task { try? await store.release(mine, lane) }.value
    mailbox.accept([])
    adopt([], replacing: true)
    metrics.end()
  }

  private func standAside() async {
    guard !isSuspended else { return }
    suspended.store(true, ordering: .relaxed)
    metrics.suspended.increment()
    logger.critical("failing for a long time; this worker gives up its assignments until both stores answer")
    let mine = assignments.values.map(\.partition)
    adopt([], replacing: true)
    // If this fails too, the assignments lapse with the worker's row. If the worker recovers first, it still owns
    // them.
    do { try await store.release(mine, lane) } catch {
      logger.error("cannot release the assignments", metadata: ["error": "\(error)"])
    }
  }

  /// - Returns: whether anything was applied.
  private func step() async throws -> Bool {
    if Machine.now >= nextHeadCheck { try await checkHeads() }
    var next = assignments
    var work: [Int: [RecordedEvent]] = [:]
    // If an assignment is behind, half of the round is for catching up, so that neither it nor the feed starves.
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
    // Each round begins with another assignment, so that no assignment waits behind the others.
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
    // Assignments with nothing to write but checkpoints advance now. The others advance once their transaction commits.
    let due = work.filter { index, events in events.contains { needsWriting($0, index) } }
    for (index, assignment) in next where due[index] == nil {
      assignments[index] = assignment
      unwritten[index, default: .init()].add(events(in: work[index] ?? [], index).handled, assignment.partition)
    }
    guard !due.isEmpty else {
      try await flush()
      rounds.settle(laneID)
      if mailbox.isEmpty, assignments.values.allSatisfy({ $0.mode != .catchingUp }), !isRetired {
        // A checkpoint that the read store does not have yet is written soon: queries with a token may wait for it.
        let isAhead = assignments.contains { stored[$0.key] != $0.value.checkpoint }
        let next = isAhead ? min(nextHeadCheck, nextFlush) : nextHeadCheck
        await mailbox.wakeup.wait(upTo: max(next - Machine.now, .milliseconds(1)))
      }
      return false
    }
    let all = due.sorted { $0.key < $1.key }.map { Work(assignment: next[$0.key]!, events: $0.value[...]) }
    var left = parts(of: all)[...]
    while let part = left.popFirst() {
      try await apply(part.filter { !isStopped($0) })
      // Slow calls keep nobody waiting for what is periodic.
      if isRetired || Machine.now >= nextHeadCheck { break }
    }
    // The events that are left come from the store.
    for work in left.joined() where !isStopped(work) {
      assignments[work.assignment.partition.index]?.mode = .catchingUp
    }
    // Also the checkpoints of partitions without work, however long others keep the lane busy.
    try await flush()
    return true
  }

  /// Returns the next events of an assignment. If they cannot be read, halts the assignment and returns nil.
  private func page(behind assignment: inout PartitionAssignment, bytes: Int) async throws -> PartitionPage? {
    do throws(EventStoreError) {
      // Reads the checkpoint's own event again, as proof of the history.
      return try await events.page(
        of: assignment.partition, from: assignment.checkpoint.position, categories: projection.categories,
        limit: PageLimit(events: settings.batchSize + 1, bytes: bytes))
    } catch {
      switch error.failureKind {
      case .retry, .historyChanged: throw error
      case .refused, .programmingError:
        logger.critical(
          "this partition cannot be read; it stops and is tried again later",
          metadata: ["partition": "\(assignment.partition)", "error": "\(error)"])
        assignment.halt(at: assignment.checkpoint.position, "\(error)", retryAt: Machine.now + settings.haltRetry)
        return nil
      }
    }
  }

  private func logInterruption(_ error: any Error) {
    let metadata: Logger.Metadata = ["error": "\(error)"]
    switch FailureKind(error) {
    case .retry: logger.error("interrupted; trying again", metadata: metadata)
    case .historyChanged:
      logger.critical(
        "the write store's history has changed; applies nothing until the new history is known", metadata: metadata)
    case .refused, .programmingError:
      logger.critical("stopped by an error that looks like a defect; trying again", metadata: metadata)
    }
  }

  /// Whether the event changes more than the checkpoint.
  func needsWriting(_ event: RecordedEvent, _ index: Int) -> Bool {
    guard projection.takes(event) else { return false }
    return waits(event, index) ? projection.isCorrelated : !projection.isIdle(event)
  }

  /// Writes, at intervals, the checkpoints of assignments whose events changed no row.
  func flush(now isDue: Bool = false) async throws {
    guard isDue || Machine.now >= nextFlush else { return }
    nextFlush = rounds.next(within: min(settings.headInterval, projection.flushInterval))
    let behind = assignments.filter { stored[$0.key] != $0.value.checkpoint }
    guard !behind.isEmpty else { return }
    try await write(behind.sorted { $0.key < $1.key }.map { Work(assignment: $0.value, events: []) }, isUrgent: isDue)
  }
}
