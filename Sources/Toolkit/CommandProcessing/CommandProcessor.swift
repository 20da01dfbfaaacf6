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
/// decided, and appended in one call. Every stream that a decision read has an expected version, for
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
  let now: @Sendable () -> Timestamp
  let metrics = ProcessorMetrics()

  var ready: Deque<PendingCommand> = []
  /// Halves of batches in which the store refused a value. They go before what is ready.
  var halves: Deque<[PendingCommand]> = []
  /// Commands whose streams are to be loaded first.
  var cold: Deque<PendingCommand> = []
  /// For each key that is under way, the commands that came with it meanwhile.
  var followers: [IdempotencyKey: Deque<PendingCommand>] = [:]
  var cache: StateCache
  /// The history that the states in memory are of.
  var historyID: UUID?
  /// Times that the store turned out to have been restored.
  var restores = 0
  var contention = Contention()
  var underWay = BatchesUnderWay()
  /// Commands without a response yet; written by the actor, read by anyone.
  let unanswered = Atomic(0)
  var unansweredBytes = 0
  let isStopping = Atomic(false)
  let (arrivals, arrival) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  let (coldArrivals, coldArrival) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  let (snapshots, snapshotSink) = AsyncStream.makeStream(
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
    metrics.shed.increment()
    return .overloaded
  }

  /// Has it logged: who sent the command learns only that something went wrong here.
  func defect(_ reason: String) -> CommandError {
    logger.error("a command is not as it should be; it failed alone", metadata: ["error": "\(reason)"])
    return .defect(reason)
  }

  private func shed(_ pending: PendingCommand) -> CommandError {
    pending.command.counters.overloaded.increment()
    return .overloaded
  }

  /// Carries out one command, in a batch with others.
  /// - Parameter response: makes the response, of which the store keeps a copy; called once for each time that
  ///   the command is decided.
  /// - Throws: the command's own rejection, or a `CommandError`.
  public func execute(
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
        QueuedCommand(command, streams, request, deadline: .now + limits.patience, response, continuation))
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
    while let half = halves.popFirst() { fail(half, .stopping) }
    while let pending = ready.popFirst() ?? cold.popFirst() { fail([pending], .stopping) }
  }

  private func processBatches() async {
    await withDiscardingTaskGroup { group in
      for await _ in arrivals {
        while underWay.leavesRoom(for: waiting) {
          let before = waiting
          guard let batch = nextBatch() else {
            // All of those looked at have to be loaded again; there may be others.
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
    if underWay.leavesRoom(for: waiting) { arrival.yield() }
  }

  /// Commands that can be decided as soon as there is room.
  private var waiting: Int { ready.count + halves.reduce(0) { $0 + $1.count } }

  /// The commands of the next batch, decided unless that takes contention locks; nil when it is better to wait.
  private func nextBatch() -> Batch? {
    guard underWay.leavesRoom(for: waiting) else { return nil }
    // In the order of arrival, stream by stream: what waits for a stream is not overtaken on any of its own.
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
      if ContinuousClock.now > pending.command.deadline {
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
