internal import DequeModule
internal import EventSourcing
internal import FoundationEssentials
internal import Logging
internal import Machine
internal import Metrics
internal import Synchronization
internal import Tracing

// MARK: One batch
extension CommandProcessor {
  /// Commands that are decided and appended together.
  struct Batch {
    let commands: [PendingCommand]
    let states: [StreamID: StreamState]
    /// Streams that other replicas write too. If there are any, the batch is decided under contention locks.
    let contended: [StreamID: StreamState]
    let decided: DecidedBatch?
  }

  /// - Parameter isHalf: Whether the commands are half of a batch that the store refused. If they have to wait, they
  ///   stay together and go first.
  func prepare(_ commands: [PendingCommand], isHalf: Bool = false) -> Batch? {
    let (commands, states) = gather(commands)
    guard !commands.isEmpty else { return nil }
    let contended = states.filter { contention.contains($0.key) }
    guard contended.isEmpty else {
      guard underWay.isAlone else {
        if isHalf { halves.prepend(commands) } else { for pending in commands.reversed() { ready.prepend(pending) } }
        return nil
      }
      underWay.beginHoldingLocks()
      return Batch(commands: commands, states: states, contended: contended, decided: nil)
    }
    let decided = decide(commands, states)
    underWay.begin(commands: decided.commands.count, writing: decided.written)
    putBack(decided.rest)
    return Batch(commands: commands, states: states, contended: [:], decided: decided)
  }

  func carryOut(_ batch: Batch) async {
    var refused: [PendingCommand] = []
    let start = Machine.now
    let begun = DefaultTracerClock.now
    do throws(EventStoreError) {
      if let decided = batch.decided {
        settle(decided, try await appendUntilKnown(decided))
      } else if let (decided, result) = try await appendHoldingLocks(batch) {
        putBack(decided.rest)
        settle(decided, result)
      }
    } catch {
      refused = handle(error, batch.decided?.commands.map(\.pending) ?? batch.commands)
    }
    metrics.commit.record(duration: Machine.now - start)
    trace(batch, since: begun)
    if let decided = batch.decided {
      underWay.end(commands: decided.commands.count, writing: decided.written)
    } else {
      underWay.endHoldingLocks()
    }
    // Bisect the batch, so that a value that the store refuses fails only its own command.
    guard !refused.isEmpty else { return }
    let middle = refused.count / 2
    halves.prepend(Array(refused[middle...]))
    halves.prepend(Array(refused[..<middle]))
  }

  /// Records an `append` span for each command with a known span, with the number of commands in the batch.
  private func trace(_ batch: Batch, since begun: DefaultTracerClock.Timestamp) {
    for pending in batch.commands {
      guard let span = pending.command.span, !span.isEmpty else { continue }
      let append = startSpan("append", context: span, ofKind: .client, at: begun)
      append.attributes["db.system.name"] = "postgresql"
      append.attributes["counterflow.batch.commands"] = batch.commands.count
      append.end()
    }
  }

  func putBack(_ commands: some BidirectionalCollection<PendingCommand>) {
    for pending in commands.reversed() { enqueue(pending, first: true) }
  }

  /// Collects the states of all streams of the batch. A command whose states the cache has lost is enqueued again, to
  /// be loaded outside the batch.
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

  var bounds: DecidedBatch.Bounds { .init(events: limits.batchEvents, bytes: limits.batchBytes) }

  /// The id of the history that the states in memory belong to. A batch must be appended to the same history.
  var history: UUID? {
    if historyID == nil { historyID = store.knownHistoryID }
    return historyID
  }

  /// Takes the contention locks of the batch's streams, reads what other replicas appended, and decides on that.
  /// - Returns: nil if nothing was decided.
  private func appendHoldingLocks(_ batch: Batch) async throws(EventStoreError) -> (DecidedBatch, AppendResult)? {
    let contended = batch.contended
    let decision = ContendedDecision(limit: limits.readSize)
    let (bounds, time, history) = (bounds, now(), history)
    metrics.contentionLocks.increment()
    let result: AppendResult?
    do throws(EventStoreError) {
      result = try await store.appendHoldingLocks(refreshing: contended.mapValues(\.cursor), limit: limits.readSize) {
        decision.decide(batch.commands, batch.states, $0, bounds, time, history)
      }
    } catch {
      guard case .outcomeUnknown(let reason) = error else { throw error }
      // The connection was lost before the decision: nothing was sent.
      guard let decided = decision.decided else { throw .unavailable(reason) }
      return (decided, try await appendUntilKnown(decided, lost: error))
    }
    contention.heldLocks(contended.keys) { decision.refreshed[$0] != nil }
    guard let decided = decision.decided, let result else {
      // There is too much to read under the locks, or an event cannot be read: load the streams outside.
      for stream in contended.keys { cache[stream] = nil }
      for var pending in batch.commands.reversed() {
        (pending.mustLoad, pending.loaded) = (true, [:])
        enqueue(pending, first: true)
      }
      return nil
    }
    if case .appended = result {
      for (stream, state) in decision.refreshed { cache[stream] = state }
    }
    return (decided, result)
  }

  /// Sends the same batch again until its outcome is known. The keys make this harmless: if the lost append still runs,
  /// it finds the keys, or expected versions that no longer match.
  private func appendUntilKnown(
    _ decided: DecidedBatch, lost: EventStoreError? = nil
  ) async throws(EventStoreError) -> AppendResult {
    var lost = lost
    // The deadline counts from the loss, so that even a slow append gets a second attempt.
    var deadline = lost.map { _ in Machine.now + limits.resendPatience }
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
      // Otherwise this attempt stored nothing, but the outcome of the lost attempt is still unknown.
      let end = deadline ?? Machine.now + limits.resendPatience
      deadline = end
      guard Machine.now + pause < end, !Task.isCancelled else { throw lost ?? failure }
      metrics.resent.increment()
      logger.warning(
        "appends a batch again", metadata: ["error": "\(failure)", "commands": "\(decided.commands.count)"])
      try? await Machine.sleep(for: pause)
      pause = min(pause * 2, .seconds(1))
    }
  }
}
