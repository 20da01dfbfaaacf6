internal import EventLoop
internal import EventRelay
internal import EventSourcing
internal import FoundationEssentials
internal import Logging
internal import Metrics
internal import Postgres
internal import PostgresEventStore
internal import Synchronization

/// Runs one lane of a generation: shares its pairs with the other workers, takes deliveries, catches up from the
/// store, and writes rows and checkpoints in one transaction a round.
actor ProjectionRunner {
  struct Settings: Sendable {
    /// Events in one transaction.
    var batchSize: Int
    /// How often every pair is compared with its partition's head, and the pairs are shared anew.
    var headInterval: Duration
    /// When a pair that was halted is tried again.
    var haltRetry: Duration
    /// Streams of one pair that are parked within a minute; at the next one the pair is halted instead.
    var parkLimit: Int
    /// After failing for so long a lane leaves its pairs to other workers.
    var patience: Duration
  }

  struct Work {
    let pair: Pair
    /// As they came: those of parked streams, or of other categories, only move the checkpoint.
    let events: ArraySlice<RecordedEvent>
  }

  let projection: AnyProjection
  nonisolated let generation: Generation
  let store: PairStore
  let readStore: PostgresPool
  let events: PostgresEventStore
  let settings: Settings
  private let budget: MemoryBudget
  let logger: Logger
  let metrics: ProjectionMetrics
  nonisolated let mailbox: Mailbox

  var pairs: [Int: Pair] = [:]
  /// Checkpoints as the read store has them; a pair whose events concern no row is ahead of its own.
  var stored: [Int: Checkpoint] = [:]
  var parked: [Int: Set<StreamID>] = [:]
  private var reported: [Int: Pair.Mode] = [:]
  var recentlyParked: [Int: [ContinuousClock.Instant]] = [:]
  var nextHeadCheck = ContinuousClock.now
  private var nextFlush = ContinuousClock.now
  private var firstToCatchUp = 0
  private var isRetired = false
  private let standsAside = Atomic(false)

  /// Whether it has failed for long, and has left its pairs to others until it sees both stores again.
  nonisolated var isAside: Bool { standsAside.load(ordering: .relaxed) }

  init(
    _ projection: AnyProjection, _ store: PairStore, readStore: PostgresPool, events: PostgresEventStore,
    budget: MemoryBudget, settings: Settings, logger: Logger
  ) {
    self.projection = projection
    self.store = store
    generation = store.generation
    self.readStore = readStore
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
  /// pairs are given up for others to take.
  func run() async {
    var backoff = Backoff(first: .milliseconds(100))
    var isSure = false
    var failingSince: ContinuousClock.Instant?
    while !Task.isCancelled, !isRetired {
      do {
        if !isSure {
          adopt(try await store.owned(on: readStore), replacing: true)
          try await loadParked(pairs.values.map(\.partition))
          nextHeadCheck = .now
          isSure = true
        }
        if try await step() { backoff.reset() }
        failingSince = nil
      } catch {
        guard !Task.isCancelled else { break }
        // What was taken is read from the store again, from the checkpoints as they stand there.
        isSure = false
        if error is FencedError {
          metrics.fenced.increment()
          logger.warning("others have taken pairs over", metadata: ["error": "\(error)"])
        } else {
          metrics.retries.increment()
          logger.error("interrupted; trying again", metadata: ["error": "\(error)"])
          failingSince = failingSince ?? .now
          if ContinuousClock.now - failingSince! > settings.patience { await standAside() }
        }
        try? await Task.sleep(for: backoff.next())
      }
    }
    // Also when cancelled: in a task of its own.
    let (store, pool, mine) = (store, readStore, pairs.values.map(\.partition))
    await Task { try? await store.release(mine, on: pool) }.value
    mailbox.accept([])
  }

  private func standAside() async {
    guard !isAside else { return }
    standsAside.store(true, ordering: .relaxed)
    metrics.aside.increment()
    logger.critical("failing for long; the pairs are left to other workers until both stores answer")
    let mine = pairs.values.map(\.partition)
    adopt([], replacing: true)
    // Should this fail too, they lapse with the worker's row, or are its own again when it recovers.
    do { try await store.release(mine, on: readStore) } catch {
      logger.error("cannot give the pairs up", metadata: ["error": "\(error)"])
    }
  }

  /// - Returns: whether anything was applied.
  private func step() async throws -> Bool {
    if ContinuousClock.now >= nextHeadCheck { try await checkHeads() }
    var next = pairs
    var work: [Int: [RecordedEvent]] = [:]
    // Half of a round is kept for pairs that are behind, so that neither they nor the feed starve.
    let isBehind = pairs.values.contains { $0.mode == .catchingUp }
    for batch in mailbox.take(events: isBehind ? max(1, settings.batchSize / 2) : settings.batchSize) {
      let index = batch.partition.index
      guard batch.partition.partitioning == generation.partitioning, var pair = next[index] else { continue }
      let verdict = pair.receive(batch)
      next[index] = pair
      if case .apply(let events) = verdict { work[index, default: []] += events }
      if verdict == .duplicate { metrics.duplicates.increment() }
      report(verdict, of: pair)
    }
    var bytes = budget.half
    var room = max(settings.batchSize / 2, settings.batchSize - work.values.reduce(0) { $0 + $1.count }, 1)
    // Each round begins at another pair, so that none waits behind the others.
    let order = next.keys.sorted()
    firstToCatchUp += 1
    for offset in order.indices {
      let index = order[(firstToCatchUp + offset) % order.count]
      guard var pair = next[index], pair.mode == .catchingUp, work[index] == nil, room > 0, bytes > 0
      else { continue }
      // The checkpoint's own event comes again, as proof of the history.
      let page = try await events.page(
        of: pair.partition, from: pair.checkpoint.position, categories: projection.categories,
        limit: PageLimit(events: settings.batchSize + 1, bytes: bytes))
      let verdict = pair.catchUp(page)
      next[index] = pair
      if case .apply(let events) = verdict {
        work[index] = events
        room -= events.count
        bytes -= events.reduce(0) { $0 + $1.data.count + $1.metadata.count }
        if room <= 0 || bytes <= 0 { firstToCatchUp += offset }
      }
      report(verdict, of: pair)
    }
    // What has no rows to write is settled; the others are when their transaction is.
    for (index, pair) in next where !concernsRows(work[index] ?? [], index) { pairs[index] = pair }
    let due = work.filter { concernsRows($0.value, $0.key) }
    guard !due.isEmpty else {
      try await flush()
      if pairs.values.allSatisfy({ $0.mode != .catchingUp }), !isRetired {
        // What is settled and not written is written soon: queries with a token may wait for it.
        let isAhead = pairs.contains { stored[$0.key] != $0.value.checkpoint }
        let next = isAhead ? min(nextHeadCheck, nextFlush) : nextHeadCheck
        await mailbox.wakeup.wait(upTo: max(next - .now, .milliseconds(1)))
      }
      return false
    }
    try await apply(due.sorted { $0.key < $1.key }.map { Work(pair: next[$0.key]!, events: $0.value[...]) })
    return true
  }

  private func concernsRows(_ events: [RecordedEvent], _ index: Int) -> Bool {
    events.contains { projection.takes($0) && !(parked[index]?.contains($0.stream) ?? false) }
  }

  /// Writes the checkpoints of pairs whose events concerned no row, now and then.
  func flush(now isDue: Bool = false) async throws {
    guard isDue || ContinuousClock.now >= nextFlush else { return }
    nextFlush = .now + min(settings.headInterval, .milliseconds(50))
    let behind = pairs.filter { stored[$0.key] != $0.value.checkpoint }
    guard !behind.isEmpty else { return }
    try await write(behind.sorted { $0.key < $1.key }.map { Work(pair: $0.value, events: []) })
  }
}

// MARK: Pairs
extension ProjectionRunner {
  private func adopt(_ new: [Pair], replacing: Bool) {
    if replacing { (pairs, stored, parked, reported) = ([:], [:], [:], [:]) }
    for pair in new {
      pairs[pair.partition.index] = pair
      stored[pair.partition.index] = pair.checkpoint
    }
    mailbox.accept(Set(pairs.keys))
    metrics.owned.record(pairs.count)
  }

  private func loadParked(_ partitions: [Partition]) async throws {
    guard !partitions.isEmpty else { return }
    for stream in try await store.parked(partitions, on: readStore) {
      parked[stream.partition, default: []].insert(stream.stream)
    }
  }

  /// Forgets pairs that others have taken: a pair without events would never be refused a write. And takes those that
  /// are this worker's without its knowing, since the read store went back to a moment ago.
  private func dropLost() async throws {
    let owned = try await store.owned(on: readStore)
    let unknown = owned.filter { pairs[$0.partition.index] == nil }
    if !unknown.isEmpty {
      adopt(unknown, replacing: false)
      try await loadParked(unknown.map(\.partition))
      logger.warning("pairs are this worker's without its knowing", metadata: ["pairs": "\(unknown.count)"])
    }
    let mine = Set(owned.map(\.partition.index))
    let lost = pairs.keys.filter { !mine.contains($0) }
    guard !lost.isEmpty else { return }
    for index in lost { forget(index) }
    adopt([], replacing: false)
    metrics.fenced.increment()
    logger.warning("others have taken pairs over", metadata: ["pairs": "\(lost.count)", "left": "\(pairs.count)"])
  }

  private func forget(_ index: Int) {
    (pairs[index], stored[index], parked[index], reported[index]) = (nil, nil, nil, nil)
  }

  /// Gives up what is more than this worker's share, or takes what is less and nobody has.
  /// - Returns: false while this worker does not count yet.
  private func balance() async throws -> Bool {
    try await dropLost()
    guard let share = try await store.share(on: readStore) else { return false }
    if pairs.count > share {
      let given = pairs.keys.sorted().suffix(pairs.count - share).map { pairs[$0]!.partition }
      try await store.release(given, on: readStore)
      for partition in given { forget(partition.index) }
      adopt([], replacing: false)
      logger.info("gave pairs up", metadata: ["pairs": "\(given.count)", "left": "\(pairs.count)"])
    } else if pairs.count < share {
      let taken = try await store.claim(share - pairs.count, on: readStore)
      guard !taken.isEmpty else { return true }
      adopt(taken, replacing: false)
      try await loadParked(taken.map(\.partition))
      logger.info("took pairs", metadata: ["pairs": "\(taken.count)", "now": "\(pairs.count)"])
    }
    return true
  }

  private func checkHeads() async throws {
    nextHeadCheck = .now + settings.headInterval
    if isAside {
      _ = try await events.incarnation()
      standsAside.store(false, ordering: .relaxed)
      logger.notice("both stores answer again")
    }
    // Not before this worker counts, and then often enough to take over in time.
    if try await !balance() { nextHeadCheck = min(nextHeadCheck, .now + .milliseconds(100)) }
    guard !pairs.isEmpty else { return }
    let incarnation = try await events.incarnation()
    let heads = try await events.heads(of: generation.partitioning)
    var lag: Int64 = 0
    for index in pairs.keys {
      var pair = pairs[index]!
      if case .halted(let retryAt) = pair.mode, ContinuousClock.now >= retryAt {
        (pair.mode, pair.trouble) = (.catchingUp, nil)
      }
      if pair.incarnation != incarnation && pair.mode != .forked {
        report(pair.fork("the store is incarnation \(incarnation) now"), of: pair)
      }
      report(pair.observe(heads[index]), of: pair)
      if pair.mode != .done { lag = max(lag, heads[index].position.rawValue - pair.checkpoint.position.rawValue) }
      pairs[index] = pair
    }
    metrics.lag.record(lag)
    try await recordAge(heads)
    metrics.parked.record(parked.values.reduce(0) { $0 + $1.count })
    metrics.stopped.record(
      pairs.values.count { pair in
        if case .halted = pair.mode { true } else { pair.mode == .forked }
      })
    try await handleRequests()
    let changed = pairs.filter { reported[$0.key] != $0.value.mode }
    if !changed.isEmpty {
      try await store.report(Array(changed.values), on: readStore)
      for (index, pair) in changed { reported[index] = pair.mode }
    }
  }

  /// How long the oldest event that is not applied has waited; 0 where there is none.
  private func recordAge(_ heads: [PartitionHead]) async throws {
    let behind = pairs.values.filter {
      $0.mode != .done && heads[$0.partition.index].position > $0.checkpoint.position
    }
    var seconds = 0.0
    if let last = behind.min(by: { $0.checkpoint.position < $1.checkpoint.position }) {
      let page = try await events.page(
        of: last.partition, from: last.checkpoint.position.advanced(by: 1), categories: [], limit: PageLimit(events: 1))
      if let first = page.events.first {
        let now = Timestamp.now.microsecondsSince1970
        seconds = max(0, Double(now - first.recordedAt.microsecondsSince1970) / 1_000_000)
      }
    }
    metrics.age.record(seconds)
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
