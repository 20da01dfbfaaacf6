internal import DequeModule
package import EventSourcing
internal import FoundationEssentials
package import Logging
internal import Machine
internal import Metrics
internal import ServiceLifecycle
internal import Synchronization

/// Decides and appends commands in batches (group commit).
///
/// While one batch commits, arriving commands wait. The next batch takes all of them, within bounds. Once as many
/// commands wait as are being appended, a second batch starts without waiting for the first. It takes only commands
/// whose streams the first batch does not write.
///
/// Commands are decided in order of arrival, on states in memory. Each command sees the decisions of those before it.
/// The whole batch is appended in one call. Every stream that a decision read has an expected version, also for
/// rejections and no-ops: no command is answered before the store has confirmed the versions that it was decided on.
package actor CommandProcessor<Store: StreamStore>: Service {
  package struct Limits: Sendable {
    /// The largest number of commands in one batch.
    package var batchSize = 100
    /// A batch takes no more commands once it has this many events, or this many bytes of events and responses. Its
    /// last command may exceed either.
    package var batchEvents = 1_000
    package var batchBytes = 4 * 1024 * 1024
    /// The largest number of commands that wait or are under way, and their bytes. More fail as overloaded.
    package var queueSize = 5_000
    package var queueBytes = 64 * 1024 * 1024
    /// How long a command may wait to be decided.
    package var patience = Duration.seconds(5)
    /// How often a command is decided at most, while others keep changing the streams that it reads.
    package var attempts = 10
    /// How long a batch with an unknown outcome is sent again, counted from the loss.
    package var resendPatience = Duration.seconds(10)
    /// The size of the state cache, in bytes.
    package var cacheBytes = 32 * 1024 * 1024
    /// The largest number of events to read from one stream at a time.
    package var readSize = 1_000

    package init() {}
  }

  let store: Store
  let limits: Limits
  let logger: Logger
  let now: @Sendable () -> Timestamp
  let metrics = ProcessorMetrics()

  var ready: Deque<PendingCommand> = []
  /// Halves of batches in which the store refused a value. They go before `ready`.
  var halves: Deque<[PendingCommand]> = []
  /// Commands whose streams must be loaded first.
  var cold: Deque<PendingCommand> = []
  /// For each key under way, the later commands with the same key.
  var followers: [IdempotencyKey: Deque<PendingCommand>] = [:]
  var cache: StateCache
  /// The id of the history that the states in memory belong to.
  var historyID: UUID?
  /// How often the store turned out to be restored.
  var restores = 0
  var contention = Contention()
  var underWay = BatchesUnderWay()
  /// The number of commands without a response. Only the actor changes it; every thread may read it.
  let unanswered = Atomic(0)
  var unansweredBytes = 0
  let isStopping = Atomic(false)
  let (arrivals, arrival) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  let (coldArrivals, coldArrival) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  let (snapshots, snapshotSink) = AsyncStream.makeStream(
    of: Snapshot.self, bufferingPolicy: .bufferingOldest(64))

  package init(
    _ store: Store, limits: Limits = Limits(), logger: Logger, now: @escaping @Sendable () -> Timestamp = { .now }
  ) {
    self.store = store
    self.limits = limits
    self.logger = logger
    self.now = now
    cache = StateCache(capacity: limits.cacheBytes)
  }

  /// Whether a new command would be refused because too many wait. Check it before any other work for the command.
  package nonisolated var isOverloaded: Bool { unanswered.load(ordering: .relaxed) >= limits.queueSize }

  /// Counts a command that was refused because of `isOverloaded`.
  /// - Returns: The error for the client.
  package nonisolated func shed() -> CommandError {
    metrics.shed.increment()
    return .overloaded
  }

  /// Logs the reason. The client learns only that an internal error occurred.
  func defect(_ reason: String) -> CommandError {
    logger.error("a command is invalid; only this command fails", metadata: ["error": "\(reason)"])
    return .defect(reason)
  }

  private func shed(_ pending: PendingCommand) -> CommandError {
    pending.command.counters.overloaded.increment()
    return .overloaded
  }

  /// Carries out one command, in a batch with others.
  /// - Parameter response: Makes the response, of which the store keeps a copy. It is called each time the command is
  ///   decided without a rejection.
  /// - Throws: The command's `Rejection`, or a `CommandError`.
  package func execute(
    _ command: some Command, _ request: CommandRequest, response: @escaping @Sendable (Decided) -> [UInt8]
  ) async throws -> CommandOutcome {
    guard !isStopping.load(ordering: .relaxed) else { throw CommandError.stopping }
    guard !isOverloaded, unansweredBytes < limits.queueBytes else {
      CommandCounters.of(type(of: command)).overloaded.increment()
      throw CommandError.overloaded
    }
    let streams = command.streams
    guard !streams.isEmpty else { throw defect("\(type(of: command).name) names no stream: give it one") }
    guard streams.allSatisfy(\.isValid) else { throw Rejection.invalidID }
    return try await withCheckedThrowingContinuation { continuation in
      unanswered.add(1, ordering: .relaxed)
      metrics.unanswered.increment()
      unansweredBytes += request.size
      let pending = PendingCommand(
        QueuedCommand(command, streams, request, deadline: Machine.now + limits.patience, response, continuation))
      if followers[request.key] == nil {
        followers[request.key] = []
        enqueue(pending)
      } else {
        followers[request.key]!.append(pending)
      }
    }
  }

  /// Processes commands until graceful shutdown. Commands that wait at that time are still carried out.
  package func run() async throws {
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
    while let half = halves.popFirst() { fail(half, .stopping) }
    while let pending = ready.popFirst() ?? cold.popFirst() { fail([pending], .stopping) }
  }

  private func processBatches() async {
    await withDiscardingTaskGroup { group in
      for await _ in arrivals {
        while underWay.leavesRoom(for: waiting) {
          let before = waiting
          guard let batch = nextBatch() else {
            // All commands of this batch must be loaded again; there may be others.
            guard waiting < before else { break }
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

  /// Fails commands whose deadline has passed, so that their callers do not wait any longer.
  private func shedExpired() async {
    while (try? await Machine.sleep(for: .milliseconds(250))) != nil {
      let now = Machine.now
      let hasExpired: (PendingCommand) -> Bool = { $0.command.deadline < now }
      var expired = ready.filter(hasExpired) + cold.filter(hasExpired)
      if !expired.isEmpty {
        ready.removeAll(where: hasExpired)
        cold.removeAll(where: hasExpired)
      }
      for (key, waiting) in followers where waiting.contains(where: hasExpired) {
        followers[key]!.removeAll(where: hasExpired)
        // The earlier command with this key may be stored at this moment.
        for follower in waiting where hasExpired(follower) {
          follower.command.counters.unknown.increment()
          resume(follower, .failure(CommandError.outcomeUnknown("an earlier request with the same key is under way")))
        }
      }
      while let pending = expired.popLast() { finish(pending, .failure(shed(pending))) }
    }
  }

  private func saveSnapshots() async {
    for await snapshot in snapshots {
      do throws(EventStoreError) {
        try await store.save(snapshot)
        metrics.snapshots.increment()
      } catch {
        metrics.failedSnapshots.increment()
        logger.warning("a snapshot was not stored", metadata: ["stream": "\(snapshot.stream)", "error": "\(error)"])
      }
    }
  }

  /// Enqueues a command for a batch, or for loading if its streams are not in memory.
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
    if underWay.leavesRoom(for: waiting) { arrival.yield() }
  }

  /// The number of commands that are ready for a batch.
  private var waiting: Int { ready.count + halves.reduce(0) { $0 + $1.count } }

  /// Returns the next batch, already decided unless it needs contention locks; nil if it is better to wait.
  private func nextBatch() -> Batch? {
    guard underWay.leavesRoom(for: waiting) else { return nil }
    // Keep the order of arrival in each stream: no command overtakes a waiting one that shares a stream with it.
    var awaited: Set<StreamID> = []
    for (index, half) in halves.enumerated() {
      let streams = Set(half.lazy.flatMap { $0.command.streams.lazy.map(\.stream) })
      if underWay.isAlone || !streams.contains(where: { underWay.writes($0) || awaited.contains($0) }) {
        halves.remove(at: index)
        return prepare(half, isHalf: true)
      }
      awaited.formUnion(streams)
    }
    var commands: [PendingCommand] = []
    var heldBack: [PendingCommand] = []
    while commands.count < limits.batchSize, heldBack.count < limits.batchSize, let pending = ready.popFirst() {
      let streams = pending.command.streams.lazy.map(\.stream)
      if Machine.now > pending.command.deadline {
        finish(pending, .failure(shed(pending)))
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
