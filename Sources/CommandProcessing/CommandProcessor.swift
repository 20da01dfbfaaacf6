internal import DequeModule
public import EventSourcing
internal import FoundationEssentials
public import Logging
internal import Metrics
public import ServiceLifecycle

/// Decides and appends commands in batches: group commit.
///
/// While one batch commits, the commands that arrive wait; the next batch takes all of them, within
/// bounds. They are decided in order of arrival on states in memory, each seeing what those before it
/// decided, and appended in one call. Every stream that a decision read is guarded by its version, for
/// rejections and no-ops too: nothing is answered before the store has confirmed what it was decided on.
public actor CommandProcessor<Store: EventStore>: Service {
  public struct Limits: Sendable {
    /// Commands in one batch.
    public var batchSize = 100
    /// Commands that may wait; more are refused as overloaded.
    public var queueSize = 5_000
    /// How long a command may wait to be decided.
    public var patience = Duration.seconds(5)
    /// How often a command is decided again after others changed what it had read.
    public var attempts = 10
    /// Streams whose state is kept in memory.
    public var cachedStreams = 50_000

    public init() {}
  }

  private let store: Store
  private let limits: Limits
  private let logger: Logger
  private let now: @Sendable () -> Timestamp
  private var queue: Deque<PendingCommand> = []
  private var cache: StateCache
  private var isStopping = false
  /// Resumed when a command arrives or the processor is told to stop.
  private var sleeper: CheckedContinuation<Void, Never>?
  private let metrics = ProcessorMetrics()

  public init(
    _ store: Store, limits: Limits = Limits(), logger: Logger, now: @escaping @Sendable () -> Timestamp = { .now }
  ) {
    self.store = store
    self.limits = limits
    self.logger = logger
    self.now = now
    cache = StateCache(capacity: limits.cachedStreams)
  }

  /// Carries out one command, in a batch with others.
  /// - Throws: the command's own rejection, or a `CommandError`.
  public func execute(_ command: some Command, metadata: EventMetadata) async throws -> Receipt {
    guard !isStopping else { throw CommandError.stopping }
    guard queue.count < limits.queueSize else {
      metrics.overloaded.increment()
      throw CommandError.overloaded
    }
    return try await withCheckedThrowingContinuation { continuation in
      queue.append(
        PendingCommand(
          streams: command.streams,
          decide: { decision in
            do { try command.decide(&decision) } catch { return error }
            return nil
          },
          metadata: metadata.encoded, deadline: .now + limits.patience, continuation: continuation))
      wake()
    }
  }

  /// Processes until graceful shutdown; the commands that wait then are still carried out.
  public func run() async throws {
    // The handlers below are synchronous: each of their tasks does no more than set a flag and wake the loop.
    await withGracefulShutdownHandler {
      while true {
        if queue.isEmpty {
          if isStopping || Task.isCancelled { break }
          await withTaskCancellationHandler {
            await withCheckedContinuation { sleeper = $0 }
          } onCancel: {
            Task { await self.stop() }
          }
          continue
        }
        await process(takeBatch())
      }
    } onGracefulShutdown: {
      Task { await self.stop() }
    }
    isStopping = true
  }

  private func stop() {
    isStopping = true
    wake()
  }

  private func wake() {
    sleeper?.resume()
    sleeper = nil
  }

  private func takeBatch() -> [PendingCommand] {
    var batch: [PendingCommand] = []
    while batch.count < limits.batchSize, let command = queue.popFirst() {
      if ContinuousClock.now > command.deadline {
        metrics.overloaded.increment()
        command.continuation.resume(throwing: CommandError.overloaded)
      } else {
        batch.append(command)
      }
    }
    return batch
  }
}

// MARK: One batch
extension CommandProcessor {
  private func process(_ batch: [PendingCommand]) async {
    guard !batch.isEmpty else { return }
    var states: [StreamID: StreamState]
    let readable: [PendingCommand]
    do {
      (states, readable) = try await load(batch)
    } catch {
      logger.error("cannot load streams", metadata: ["error": "\(error)"])
      return fail(batch, .unavailable("\(error)"))
    }
    let guards = states.mapValues(\.version)
    let decided = readable.map { decide($0, &states) }
    let append = AppendBatch(
      guards: guards.filter { stream, _ in readable.contains { $0.reads(stream) } },
      events: decided.flatMap(\.events))
    guard !append.guards.isEmpty else { return }
    do throws(EventStoreError) {
      switch try await store.append(append) {
      case .appended(let first, _): commit(decided, first)
      case .conflict(let actual): retry(decided, actual)
      }
    } catch {
      await handle(error, readable)
    }
  }

  /// The states of all streams of the batch, from the cache or the store. Commands on a stream that
  /// cannot be read are failed here; the others go on.
  private func load(
    _ batch: [PendingCommand]
  ) async throws(EventStoreError) -> ([StreamID: StreamState], [PendingCommand]) {
    var states: [StreamID: StreamState] = [:]
    var missing: [StreamID: AggregateReference] = [:]
    for reference in batch.lazy.flatMap(\.streams) where states[reference.stream] == nil {
      if let state = cache[reference.stream] {
        states[reference.stream] = state
      } else if reference.isExpectedNew && batch.allSatisfy({ $0.attempts == 0 }) {
        states[reference.stream] = StreamState(new: reference)
      } else {
        missing[reference.stream] = reference
      }
    }
    let events = try await store.events(in: Array(missing.keys))
    var unreadable: [StreamID: EventDecodingError] = [:]
    for (stream, reference) in missing {
      var state = StreamState(new: reference)
      do throws(EventDecodingError) {
        try state.apply(events[stream] ?? [])
        states[stream] = state
        cache[stream] = state
      } catch {
        logger.error("a stream cannot be read", metadata: ["stream": "\(stream)", "error": "\(error)"])
        unreadable[stream] = error
      }
    }
    let readable = batch.filter { command in
      guard let error = command.streams.lazy.compactMap({ unreadable[$0.stream] }).first else { return true }
      fail([command], .unreadable(error))
      return false
    }
    return (states, readable)
  }

  private func decide(_ pending: PendingCommand, _ states: inout [StreamID: StreamState]) -> DecidedCommand {
    let own = Dictionary(
      pending.streams.map { ($0.stream, states[$0.stream]!) }, uniquingKeysWith: { first, _ in first })
    var decision = Decision(states: own)
    if let rejection = pending.decide(&decision) {
      return DecidedCommand(pending: pending, rejection: rejection, events: [], states: own)
    }
    let time = now()
    let events = decision.emitted.map {
      $0.event.new(in: $0.stream, id: .v7(at: time), metadata: pending.metadata)
    }
    states.merge(decision.states) { $1 }
    return DecidedCommand(pending: pending, rejection: nil, events: events, states: decision.states)
  }

  private func commit(_ decided: [DecidedCommand], _ first: Position) {
    var next = first
    var positions: [StreamID: Position] = [:]
    for command in decided {
      for event in command.events {
        positions[event.stream] = next
        next = next.advanced(by: 1)
      }
      if let rejection = command.rejection {
        metrics.rejected.increment()
        command.pending.continuation.resume(throwing: rejection)
        continue
      }
      var receipts: [StreamID: Receipt.StreamReceipt] = [:]
      for (stream, var state) in command.states {
        if let position = positions[stream] { state.moved(to: position) }
        cache[stream] = state
        receipts[stream] = Receipt.StreamReceipt(version: state.version, position: state.position)
      }
      metrics.accepted.increment()
      command.pending.continuation.resume(
        returning: Receipt(streams: receipts, hasChanged: !command.events.isEmpty))
    }
    metrics.batchSize.record(decided.count)
  }
}

// MARK: What goes wrong
extension CommandProcessor {
  /// Decides again what was decided on stale state, and what followed from that; in the old order, and
  /// before anything that came later.
  private func retry(_ decided: [DecidedCommand], _ actual: [StreamID: Version]) {
    metrics.conflicts.increment(by: actual.count)
    for stream in actual.keys { cache[stream] = nil }
    var stale = Set(actual.keys)
    var again: [PendingCommand] = []
    for command in decided {
      var pending = command.pending
      if let stream = pending.streams.lazy.map(\.stream).first(where: { stale.contains($0) }) {
        stale.formUnion(command.events.map(\.stream))
        pending.attempts += 1
        if pending.attempts >= limits.attempts {
          fail([pending], .conflict(stream, current: actual[stream] ?? .none))
          continue
        }
      }
      again.append(pending)
    }
    for pending in again.reversed() { queue.prepend(pending) }
  }

  private func handle(_ error: EventStoreError, _ batch: [PendingCommand]) async {
    switch error {
    case .unavailable(let reason):
      logger.error("cannot append", metadata: ["error": "\(error)"])
      fail(batch, .unavailable(reason))
    case .outcomeUnknown(let reason):
      logger.error("an append was lost", metadata: ["error": "\(error)", "commands": "\(batch.count)"])
      for reference in batch.lazy.flatMap(\.streams) { cache[reference.stream] = nil }
      metrics.unknown.increment(by: batch.count)
      fail(batch, .outcomeUnknown(reason))
    case .refused(let reason):
      // One value that the store does not take must not fail its neighbours.
      guard batch.count > 1 else {
        logger.error("the store refused a command", metadata: ["error": "\(error)"])
        return fail(batch, .refused(reason))
      }
      let middle = batch.count / 2
      await process(Array(batch[..<middle]))
      await process(Array(batch[middle...]))
    }
  }

  private func fail(_ batch: [PendingCommand], _ error: CommandError) {
    metrics.failed.increment(by: batch.count)
    for command in batch { command.continuation.resume(throwing: error) }
  }
}

private struct ProcessorMetrics {
  let accepted = Counter(label: "commands_total", dimensions: [("outcome", "accepted")])
  let rejected = Counter(label: "commands_total", dimensions: [("outcome", "rejected")])
  let failed = Counter(label: "commands_total", dimensions: [("outcome", "failed")])
  let overloaded = Counter(label: "commands_total", dimensions: [("outcome", "overloaded")])
  let unknown = Counter(label: "commands_total", dimensions: [("outcome", "unknown")])
  let conflicts = Counter(label: "command_conflicts_total")
  let batchSize = Recorder(label: "command_batch_size")
}
