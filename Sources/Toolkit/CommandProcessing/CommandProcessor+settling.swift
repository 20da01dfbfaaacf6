internal import DequeModule
internal import EventSourcing
internal import FoundationEssentials
internal import Logging
internal import Metrics
internal import Synchronization

// MARK: Outcomes
extension CommandProcessor {
  func settle(_ decided: DecidedBatch, _ result: AppendResult) {
    switch result {
    case .appended(let first, _, let repeats, let contended):
      metrics.batchSize.record(decided.commands.count)
      // Other replicas hold contention locks on these streams, and lose against a replica that takes none.
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

  /// Discards everything that belongs to the old history after the store was restored.
  func forgetHistory() {
    guard historyID != store.knownHistoryID else { return }
    logger.error("the write store was restored; drops everything cached from it")
    historyID = store.knownHistoryID
    cache = StateCache(capacity: limits.cacheBytes)
    contention.forget()
    restores += 1
    for index in ready.indices { ready[index].loaded = [:] }
    for index in cold.indices { cold[index].loaded = [:] }
    for index in halves.indices { for place in halves[index].indices { halves[index][place].loaded = [:] } }
  }

  func commit(_ decided: DecidedBatch, _ first: Position, _ repeats: [Int: StoredResponse]) {
    let events = decided.append.events
    var places: [StreamID: (position: Position, eventID: UUID)] = [:]
    // The states after the batch. Unwritten streams are already in the cache.
    var written: [StreamID: StreamState] = [:]
    for (index, command) in decided.commands.enumerated() {
      if let stored = repeats[index] {
        finish(command.pending, repeated: stored)
      } else if case .defect(let reason) = command.rejection as? CommandError {
        fail([command.pending], defect(reason))
      } else if case .historyChanged(let reason) = command.rejection as? CommandError {
        fail([command.pending], .historyChanged(reason))
      } else if let rejection = command.rejection {
        command.pending.command.counters.rejected.increment()
        finish(command.pending, .failure(rejection))
      } else if let response = command.response {
        var states = command.states
        for offset in command.events {
          places[events[offset].stream] = (first.advanced(by: offset), events[offset].id)
        }
        for stream in states.keys {
          guard let place = places[stream] else { continue }
          states[stream]!.moved(to: place.position, place.eventID)
          written[stream] = states[stream]
        }
        command.pending.command.counters.accepted.increment()
        let text = response.text(first: first)
        let outcome = CommandOutcome(
          response: text, receipt: Receipt(states: states, hasChanged: !command.events.isEmpty),
          historyID: historyID ?? store.knownHistoryID)
        finish(
          command.pending, .success(outcome),
          stored: StoredResponse(fingerprint: command.pending.command.request.fingerprint, text: text))
      }
    }
    for (stream, var state) in written {
      keepSnapshot(of: &state, stream)
      cache[stream] = state
    }
  }

  /// Queues a snapshot if one is due. If the queue is full, the snapshot is skipped until the next one is due.
  func keepSnapshot(of state: inout StreamState, _ stream: StreamID) {
    do {
      guard let snapshot = try state.dueSnapshot(stream), case .dropped = snapshotSink.yield(snapshot) else { return }
    } catch {
      logger.error("a snapshot cannot be taken", metadata: ["stream": "\(stream)", "error": "\(error)"])
    }
    metrics.failedSnapshots.increment()
  }

  /// Answers repeated commands with their stored responses, and decides the others again: in the old order, before
  /// newer commands, and with contention locks on the streams that others wrote. All of them are decided again, since
  /// each may have read what a stale one wrote.
  private func retry(_ decided: DecidedBatch, _ conflicts: [StreamID: Version], _ repeats: [Int: StoredResponse]) {
    metrics.conflicts.increment(by: conflicts.count)
    // If the same command was sent to two replicas, its streams need no contention locks.
    let answered = Set(repeats.keys.flatMap { decided.commands[$0].pending.command.streams.map(\.stream) })
    for (stream, version) in conflicts {
      if !answered.contains(stream) { contention.conflicted(stream) }
      // The store has a lower version than the cache, so the cached state is wrong.
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

  /// Fails the commands of a batch that could not be appended.
  /// - Returns: The commands to try again in smaller batches.
  func handle(_ error: EventStoreError, _ batch: [PendingCommand]) -> [PendingCommand] {
    logger.error("cannot append", metadata: ["error": "\(error)", "commands": "\(batch.count)"])
    switch error {
    case .unavailable(let reason): fail(batch, .unavailable(reason))
    case .historyChanged(let reason): fail(batch, .historyChanged(reason))
    case .archived(let reason), .failed(let reason): fail(batch, .defect(reason))
    case .outcomeUnknown(let reason):
      for pending in batch {
        pending.command.counters.unknown.increment()
        finish(pending, .failure(CommandError.outcomeUnknown(reason)))
      }
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
    for pending in batch {
      pending.command.counters.failed.increment()
      finish(pending, .failure(error))
    }
  }

  func finish(_ pending: PendingCommand, repeated stored: StoredResponse) {
    pending.command.counters.repeated.increment()
    finish(pending, outcome(pending, stored), stored: stored)
  }

  func outcome(
    _ pending: PendingCommand, _ stored: StoredResponse
  ) -> Result<CommandOutcome, any Error> {
    let request = pending.command.request
    guard stored.fingerprint == request.fingerprint else {
      return .failure(CommandError.keyReused(request.key.key))
    }
    return .success(
      CommandOutcome(response: stored.text, receipt: nil, historyID: historyID ?? store.knownHistoryID))
  }

  /// Answers a command. If the response was stored, also answers the commands that arrived meanwhile with the same key;
  /// otherwise the next of them is carried out.
  func finish(
    _ pending: PendingCommand, _ result: Result<CommandOutcome, any Error>, stored: StoredResponse? = nil
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
        follower.command.counters.repeated.increment()
        resume(follower, outcome(follower, stored))
      }
    } else {
      let next = waiting.removeFirst()
      followers[key] = waiting
      enqueue(next)
    }
  }

  func resume(_ pending: PendingCommand, _ result: Result<CommandOutcome, any Error>) {
    unanswered.subtract(1, ordering: .relaxed)
    metrics.unanswered.decrement()
    unansweredBytes -= pending.command.request.size
    pending.command.continuation.resume(with: result)
    // Shutdown waits for the last command.
    if isStopping.load(ordering: .relaxed) { arrival.yield() }
  }
}
