internal import DequeModule
public import EventSourcing
internal import FoundationEssentials
public import Logging
internal import Metrics
public import ServiceLifecycle
internal import Synchronization

/// Decides and appends commands in batches: group commit.
///
/// While one batch commits, the commands that arrive wait; the next batch takes all of them, within
/// bounds. Once as many wait as are under way, a second batch follows the first without waiting for it,
/// made of commands that touch nothing that the first one writes. Commands are decided in order of arrival on states in memory, each seeing what those before it
/// decided, and appended in one call. Every stream that a decision read is guarded by its version, for
/// rejections and no-ops too: nothing is answered before the store has confirmed what it was decided on.
public actor CommandProcessor<Store: EventStore>: Service {
  public struct Limits: Sendable {
    /// Commands in one batch.
    public var batchSize = 100
    /// Events in one batch, and their bytes; a command that has more by itself goes alone.
    public var batchEvents = 1_000
    public var batchBytes = 4 * 1024 * 1024
    /// Commands that wait or are under way, and their bytes; more are refused as overloaded.
    public var queueSize = 5_000
    public var queueBytes = 64 * 1024 * 1024
    /// How long a command may wait to be decided.
    public var patience = Duration.seconds(5)
    /// How often a command is decided again after others changed what it had read.
    public var attempts = 10
    /// How long a batch whose outcome is unknown is sent again.
    public var resendPatience = Duration.seconds(10)
    /// Bytes of states that are kept in memory.
    public var cacheBytes = 32 * 1024 * 1024
    /// Events read of one stream at a time.
    public var readSize = 1_000

    public init() {}
  }

  let store: Store
  let limits: Limits
  let logger: Logger
  private let now: @Sendable () -> Timestamp
  let metrics = ProcessorMetrics()

  private var ready: Deque<PendingCommand> = []
  /// Commands whose streams are to be loaded first.
  var cold: Deque<PendingCommand> = []
  /// For each key that is under way, the commands that came with it meanwhile.
  private var followers: [IdempotencyKey: Deque<PendingCommand>] = [:]
  var cache: StateCache
  /// The history that the states in memory are of.
  private var incarnation: UUID?
  /// Times that the store turned out to have been restored.
  private(set) var restores = 0
  private var contention = Contention()
  private var underWay = BatchesUnderWay()
  /// Commands without an answer yet; written by the actor, read by anyone.
  private let unanswered = Atomic(0)
  private var unansweredBytes = 0
  private let isStopping = Atomic(false)
  private let (arrivals, arrival) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  let (coldArrivals, coldArrival) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  private let (snapshots, snapshotSink) = AsyncStream.makeStream(
    of: Snapshot.self, bufferingPolicy: .bufferingOldest(64))

  public init(
    _ store: Store, limits: Limits = Limits(), logger: Logger, now: @escaping @Sendable () -> Timestamp = { .now }
  ) {
    self.store = store
    self.limits = limits
    self.logger = logger
    self.now = now
    cache = StateCache(capacity: limits.cacheBytes)
  }

  /// True while a command would be refused: ask before any work is done for one.
  public nonisolated var isOverloaded: Bool { unanswered.load(ordering: .relaxed) >= limits.queueSize }

  /// Counts a command that was refused because of `isOverloaded`.
  public nonisolated func shed() -> CommandError {
    metrics.overloaded.increment()
    return .overloaded
  }

  /// Carries out one command, in a batch with others.
  /// - Parameter answer: makes the answer, of which the store keeps a copy; called once for each time that
  ///   the command is decided.
  /// - Throws: the command's own rejection, or a `CommandError`.
  public func execute(
    _ command: some Command, _ request: CommandRequest, answer: @escaping @Sendable (Decided) -> [UInt8]
  ) async throws -> CommandOutcome {
    guard !isStopping.load(ordering: .relaxed) else { throw CommandError.stopping }
    guard !isOverloaded, unansweredBytes < limits.queueBytes else { throw shed() }
    return try await withCheckedThrowingContinuation { continuation in
      unanswered.add(1, ordering: .relaxed)
      unansweredBytes += request.size
      let pending = PendingCommand(
        QueuedCommand(command, request, deadline: .now + limits.patience, answer, continuation))
      if followers[request.key] == nil {
        followers[request.key] = []
        enqueue(pending)
      } else {
        followers[request.key]!.append(pending)
      }
    }
  }

  /// Processes until graceful shutdown; the commands that wait then are still carried out.
  public func run() async throws {
    await withGracefulShutdownHandler {
      await withDiscardingTaskGroup { group in
        group.addTask { await self.loadColdStreams() }
        group.addTask { await self.saveSnapshots() }
        async let _ = self.shedExpired()
        await self.processBatches()
        self.coldArrival.finish()
        self.snapshotSink.finish()
      }
    } onGracefulShutdown: {
      self.isStopping.store(true, ordering: .relaxed)
      self.arrival.yield()
    }
    isStopping.store(true, ordering: .relaxed)
    while let pending = ready.popFirst() ?? cold.popFirst() { fail([pending], .stopping) }
  }

  private func processBatches() async {
    await withDiscardingTaskGroup { group in
      for await _ in arrivals {
        while underWay.leavesRoom(for: ready.count) {
          let waiting = ready.count
          guard let batch = nextBatch() else {
            // All of those looked at have to be loaded again; there may be others.
            guard ready.count < waiting else { break }
            continue
          }
          group.addTask {
            await self.carryOut(batch)
            self.arrival.yield()
          }
        }
        if isStopping.load(ordering: .relaxed), unanswered.load(ordering: .relaxed) == 0 { return }
      }
    }
  }

  /// Answers those in time whose turn does not come.
  private func shedExpired() async {
    while (try? await Task.sleep(for: .milliseconds(250))) != nil {
      let now = ContinuousClock.now
      let hasExpired: (PendingCommand) -> Bool = { $0.command.deadline < now }
      var expired = ready.filter(hasExpired) + cold.filter(hasExpired)
      if !expired.isEmpty {
        ready.removeAll(where: hasExpired)
        cold.removeAll(where: hasExpired)
      }
      for (key, waiting) in followers where waiting.contains(where: hasExpired) {
        followers[key]!.removeAll(where: hasExpired)
        // The one before may be stored at this moment.
        for follower in waiting where hasExpired(follower) {
          metrics.unknown.increment()
          resume(follower, .failure(CommandError.outcomeUnknown("an earlier request with the same key is under way")))
        }
      }
      while let pending = expired.popLast() { finish(pending, .failure(shed())) }
    }
  }

  private func saveSnapshots() async {
    for await snapshot in snapshots {
      do throws(EventStoreError) {
        try await store.save(snapshot)
        metrics.snapshots.increment()
      } catch {
        metrics.failedSnapshots.increment()
        logger.warning("a snapshot was not kept", metadata: ["stream": "\(snapshot.stream)", "error": "\(error)"])
      }
    }
  }

  /// Puts a command where it can go on: with its batch, or with those whose streams are loaded.
  func enqueue(_ pending: PendingCommand, first: Bool = false) {
    let isWarm = pending.command.streams.allSatisfy {
      cache[$0.stream] != nil || pending.loaded[$0.stream] != nil || ($0.isExpectedNew && !pending.mustLoad)
    }
    guard isWarm else {
      cold.append(pending)
      coldArrival.yield()
      return
    }
    first ? ready.prepend(pending) : ready.append(pending)
    if underWay.leavesRoom(for: ready.count) { arrival.yield() }
  }

  /// The commands of the next batch, decided unless that takes a turn; nil when it is better to wait.
  private func nextBatch() -> Batch? {
    guard underWay.leavesRoom(for: ready.count) else { return nil }
    var commands: [PendingCommand] = []
    // In the order of arrival, stream by stream: what waits for a stream is not overtaken on any of its own.
    var heldBack: [PendingCommand] = []
    var awaited: Set<StreamID> = []
    while commands.count < limits.batchSize, heldBack.count < limits.batchSize, let pending = ready.popFirst() {
      let streams = pending.command.streams.lazy.map(\.stream)
      if ContinuousClock.now > pending.command.deadline {
        finish(pending, .failure(shed()))
      } else if !underWay.isAlone, streams.contains(where: { underWay.writes($0) || awaited.contains($0) }) {
        awaited.formUnion(streams)
        heldBack.append(pending)
      } else {
        commands.append(pending)
      }
    }
    for pending in heldBack.reversed() { ready.prepend(pending) }
    return prepare(commands)
  }
}

// MARK: One batch
extension CommandProcessor {
  /// Commands that are decided and appended together.
  private struct Batch {
    let commands: [PendingCommand]
    let states: [StreamID: StreamState]
    /// Streams that others write too. While there are any, the batch is decided in turn.
    let contended: [StreamID: StreamState]
    let decided: DecidedBatch?
  }

  private func prepare(_ commands: [PendingCommand]) -> Batch? {
    let (commands, states) = gather(commands)
    guard !commands.isEmpty else { return nil }
    let contended = states.filter { contention.contains($0.key) }
    guard contended.isEmpty else {
      guard underWay.isAlone else {
        for pending in commands.reversed() { ready.prepend(pending) }
        return nil
      }
      underWay.beginTurn()
      return Batch(commands: commands, states: states, contended: contended, decided: nil)
    }
    let decided = decide(commands, states)
    underWay.begin(decided)
    putBack(decided.rest)
    return Batch(commands: commands, states: states, contended: [:], decided: decided)
  }

  private func carryOut(_ batch: Batch) async {
    var refused: [PendingCommand] = []
    do throws(EventStoreError) {
      if let decided = batch.decided {
        settle(decided, try await appendUntilKnown(decided))
      } else if let (decided, result) = try await appendInTurn(batch) {
        putBack(decided.rest)
        settle(decided, result)
      }
    } catch {
      refused = handle(error, batch.decided?.commands.map(\.pending) ?? batch.commands)
    }
    underWay.end(batch.decided)
    // Half by half, so that one value that the store does not take fails alone.
    guard !refused.isEmpty else { return }
    let middle = refused.count / 2
    for half in [refused[..<middle], refused[middle...]] {
      if let batch = prepare(Array(half)) { await carryOut(batch) }
    }
  }

  private func putBack(_ commands: some BidirectionalCollection<PendingCommand>) {
    for pending in commands.reversed() { enqueue(pending, first: true) }
  }

  /// The states of all streams of the batch. What the cache has lost meanwhile is loaded again, outside.
  private func gather(_ batch: [PendingCommand]) -> ([PendingCommand], [StreamID: StreamState]) {
    var states: [StreamID: StreamState] = [:]
    var complete: [PendingCommand] = []
    complete.reserveCapacity(batch.count)
    commands: for pending in batch {
      for reference in pending.command.streams where states[reference.stream] == nil {
        if let state = cache[reference.stream] ?? pending.loaded[reference.stream] {
          states[reference.stream] = state
        } else if reference.isExpectedNew && !pending.mustLoad {
          states[reference.stream] = StreamState(new: reference)
        } else {
          enqueue(pending)
          continue commands
        }
      }
      complete.append(pending)
    }
    return (complete, states)
  }

  private func decide(_ batch: [PendingCommand], _ states: [StreamID: StreamState]) -> DecidedBatch {
    DecidedBatch(batch, from: states, within: bounds, at: now(), in: history)
  }

  private var bounds: DecidedBatch.Bounds { .init(events: limits.batchEvents, bytes: limits.batchBytes) }

  /// What a batch is decided on must be of the history that it is appended to.
  private var history: UUID? {
    if incarnation == nil { incarnation = store.knownIncarnation }
    return incarnation
  }

  /// Takes a turn among the replicas, learns what the others have done, and decides on that.
  /// - Returns: nil when nothing was decided.
  private func appendInTurn(_ batch: Batch) async throws(EventStoreError) -> (DecidedBatch, AppendResult)? {
    let contended = batch.contended
    let turn = Turn(limit: limits.readSize)
    let (bounds, time, history) = (bounds, now(), history)
    metrics.turns.increment()
    let result: AppendResult?
    do throws(EventStoreError) {
      result = try await store.appendInTurn(refreshing: contended.mapValues(\.cursor), limit: limits.readSize) {
        turn.decide(batch.commands, batch.states, $0, bounds, time, history)
      }
    } catch {
      guard case .outcomeUnknown(let reason) = error else { throw error }
      // Lost before anything was decided: nothing was sent.
      guard let decided = turn.decided else { throw .unavailable(reason) }
      return (decided, try await appendUntilKnown(decided, lost: error))
    }
    contention.hadTurn(contended.keys) { turn.refreshed[$0] != nil }
    guard let decided = turn.decided, let result else {
      // Too much is new for a turn, or it cannot be read: load it outside.
      for stream in contended.keys { cache[stream] = nil }
      for var pending in batch.commands.reversed() {
        (pending.mustLoad, pending.loaded) = (true, [:])
        enqueue(pending, first: true)
      }
      return nil
    }
    if case .appended = result {
      for (stream, state) in turn.refreshed { cache[stream] = state }
    }
    return (decided, result)
  }

  /// Sends the identical batch again until its outcome is known: keys make that harmless, and whoever
  /// still executes the lost one finds the keys, or guards that do not hold.
  private func appendUntilKnown(
    _ decided: DecidedBatch, lost: EventStoreError? = nil
  ) async throws(EventStoreError) -> AppendResult {
    var lost = lost
    // Counted from when the outcome was lost: however long an append may take, there is a second one.
    var deadline = lost.map { _ in ContinuousClock.now + limits.resendPatience }
    var pause = Duration.milliseconds(50)
    while true {
      let failure: EventStoreError
      do throws(EventStoreError) {
        let result = try await store.append(decided.append)
        if lost != nil, case .restored = result { return .restored(afterLoss: true) }
        return result
      } catch { failure = error }
      if case .outcomeUnknown = failure {
        lost = failure
      } else if lost == nil {
        throw failure
      }
      // Else nothing was stored of this attempt; of the lost one, who knows.
      let end = deadline ?? .now + limits.resendPatience
      deadline = end
      guard ContinuousClock.now + pause < end, !Task.isCancelled else { throw lost ?? failure }
      metrics.resent.increment()
      logger.warning(
        "sending a batch again", metadata: ["error": "\(failure)", "commands": "\(decided.commands.count)"])
      try? await Task.sleep(for: pause)
      pause = min(pause * 2, .seconds(1))
    }
  }
}

// MARK: Outcomes
extension CommandProcessor {
  private func settle(_ decided: DecidedBatch, _ result: AppendResult) {
    switch result {
    case .appended(let first, _, let repeats, let contended):
      metrics.batchSize.record(decided.commands.count)
      // Others take turns, and cannot win against one who does not.
      for stream in contended { contention.conflicted(stream) }
      commit(decided, first, repeats)
    case .notAppended(let conflicts, let repeats):
      retry(decided, conflicts, repeats)
    case .restored(let wasLost):
      forgetHistory()
      for var pending in decided.commands.map(\.pending).reversed() {
        pending.loaded = [:]
        if wasLost { pending.isUncertain = true }
        enqueue(pending, first: true)
      }
    }
  }

  /// The store begins another history than the one that everything in memory is of.
  func forgetHistory() {
    guard incarnation != store.knownIncarnation else { return }
    logger.error("the store was restored: what was known of it is forgotten")
    incarnation = store.knownIncarnation
    cache = StateCache(capacity: limits.cacheBytes)
    contention.forget()
    restores += 1
    for index in ready.indices { ready[index].loaded = [:] }
    for index in cold.indices { cold[index].loaded = [:] }
  }

  private func commit(_ decided: DecidedBatch, _ first: Position, _ repeats: [Int: StoredAnswer]) {
    let events = decided.append.events
    var places: [StreamID: (position: Position, eventID: UUID)] = [:]
    // As the batch leaves them. What nobody has written is in the cache as it is.
    var written: [StreamID: StreamState] = [:]
    for (index, command) in decided.commands.enumerated() {
      if let stored = repeats[index] {
        finish(command.pending, repeated: stored)
      } else if let rejection = command.rejection {
        metrics.rejected.increment()
        finish(command.pending, .failure(rejection))
      } else if let answer = command.answer {
        var states = command.states
        for offset in command.events {
          places[events[offset].stream] = (first.advanced(by: offset), events[offset].id)
        }
        for stream in states.keys {
          guard let place = places[stream] else { continue }
          states[stream]!.moved(to: place.position, place.eventID)
          written[stream] = states[stream]
        }
        metrics.accepted.increment()
        let text = answer.text(first: first)
        let outcome = CommandOutcome(
          answer: text, receipt: Receipt(states: states, hasChanged: !command.events.isEmpty),
          incarnation: incarnation ?? store.knownIncarnation)
        finish(
          command.pending, .success(outcome),
          stored: StoredAnswer(fingerprint: command.pending.command.request.fingerprint, text: text))
      }
    }
    for (stream, var state) in written {
      keepSnapshot(of: &state, stream)
      cache[stream] = state
    }
  }

  /// Has a snapshot made once one is due; when too many wait already, the next time.
  func keepSnapshot(of state: inout StreamState, _ stream: StreamID) {
    guard let snapshot = state.dueSnapshot(stream), case .dropped = snapshotSink.yield(snapshot) else { return }
    metrics.failedSnapshots.increment()
  }

  /// Answers what was answered before, and decides the others again: in the old order, before anything
  /// that came later, and in turn with those who wrote the same streams. All of them, since each may have
  /// read what a stale one wrote.
  private func retry(_ decided: DecidedBatch, _ conflicts: [StreamID: Version], _ repeats: [Int: StoredAnswer]) {
    metrics.conflicts.increment(by: conflicts.count)
    // Where the same command was sent to two of us, there is nothing to take turns for.
    let answered = Set(repeats.keys.flatMap { decided.commands[$0].pending.command.streams.map(\.stream) })
    for (stream, version) in conflicts {
      if !answered.contains(stream) { contention.conflicted(stream) }
      // Behind what we hold: another history, or another's lie.
      if let state = cache[stream], state.version > version { cache[stream] = nil }
    }
    var again: [PendingCommand] = []
    for (index, command) in decided.commands.enumerated() {
      var pending = command.pending
      if let stored = repeats[index] {
        finish(pending, repeated: stored)
        continue
      }
      if let stream = pending.command.streams.lazy.map(\.stream).first(where: { conflicts[$0] != nil }) {
        pending.attempts += 1
        if pending.attempts >= limits.attempts {
          fail([pending], .conflict(stream, current: conflicts[stream] ?? .none))
          continue
        }
      }
      again.append(pending)
    }
    putBack(again)
  }

  /// - Returns: commands to try again in smaller batches.
  private func handle(_ error: EventStoreError, _ batch: [PendingCommand]) -> [PendingCommand] {
    logger.error("cannot append", metadata: ["error": "\(error)", "commands": "\(batch.count)"])
    switch error {
    case .unavailable(let reason): fail(batch, .unavailable(reason))
    case .historyChanged(let reason): fail(batch, .historyChanged(reason))
    case .outcomeUnknown(let reason):
      metrics.unknown.increment(by: batch.count)
      fail(batch, .outcomeUnknown(reason))
    case .refused(let reason):
      guard batch.count > 1 else {
        fail(batch, .refused(reason))
        break
      }
      return batch
    }
    return []
  }

  func fail(_ batch: [PendingCommand], _ error: CommandError) {
    metrics.failed.increment(by: batch.count)
    for pending in batch { finish(pending, .failure(error)) }
  }

  func finish(_ pending: PendingCommand, repeated stored: StoredAnswer) {
    metrics.repeated.increment()
    finish(pending, outcome(pending, stored), stored: stored)
  }

  private func outcome(
    _ pending: PendingCommand, _ stored: StoredAnswer
  ) -> Result<CommandOutcome, any Error> {
    let request = pending.command.request
    guard stored.fingerprint == request.fingerprint else {
      return .failure(CommandError.keyReused(request.key.key))
    }
    return .success(
      CommandOutcome(answer: stored.text, receipt: nil, incarnation: incarnation ?? store.knownIncarnation))
  }

  /// Answers a command, and those that came with the same key meanwhile: alike, where the answer was
  /// stored; else the next of them is carried out.
  private func finish(
    _ pending: PendingCommand, _ result: Result<CommandOutcome, any Error>, stored: StoredAnswer? = nil
  ) {
    let key = pending.command.request.key
    var result = result
    if pending.isUncertain, case .failure(let error as CommandError) = result, error.meansNothingStored {
      result = .failure(CommandError.outcomeUnknown("\(error); an earlier attempt was lost"))
    }
    resume(pending, result)
    guard var waiting = followers.removeValue(forKey: key), !waiting.isEmpty else { return }
    if let stored {
      for follower in waiting {
        metrics.repeated.increment()
        resume(follower, outcome(follower, stored))
      }
    } else {
      let next = waiting.removeFirst()
      followers[key] = waiting
      enqueue(next)
    }
  }

  private func resume(_ pending: PendingCommand, _ result: Result<CommandOutcome, any Error>) {
    unanswered.subtract(1, ordering: .relaxed)
    unansweredBytes -= pending.command.request.size
    pending.command.continuation.resume(with: result)
    // Shutting down waits for the last one.
    if isStopping.load(ordering: .relaxed) { arrival.yield() }
  }
}
