internal import EventRelay
internal import EventSourcing
internal import Logging
internal import Metrics
internal import Postgres
internal import PostgresEventStore
internal import Tracing

// Writes rows, and finds what is refused.
extension ProjectionRunner {
  /// Writes rows and checkpoints of all `work` in one transaction. When an event is refused, the others
  /// go on: first each pair by itself, then, in the pair that fails, half by half.
  func apply(_ work: [Work]) async throws {
    do {
      try await write(work)
    } catch {
      guard Self.isRefusal(error) else { throw error }
      if work.count > 1 {
        for one in work { try await apply([one]) }
      } else if work[0].events.count > 1 {
        let events = work[0].events
        let middle = events.startIndex + events.count / 2
        for half in [events[..<middle], events[middle...]] {
          guard pairs[work[0].pair.partition.index]?.trouble == nil else { return }
          var pair = work[0].pair
          pair.checkpoint = Checkpoint(position: half.last!.position, eventID: half.last!.id)
          try await apply([Work(pair: pair, events: half)])
        }
      } else {
        try await refuse(work[0].events.first!, work[0].pair, error)
      }
    }
  }

  func write(_ work: [Work]) async throws {
    var applied: [RecordedEvent] = []
    let advances = work.map { work in
      let index = work.pair.partition.index
      let waiting = parked[index] ?? []
      let events = work.events.filter { projection.takes($0) && !waiting.contains($0.stream) }
      applied += events
      return PairStore.Advance(
        partition: work.pair.partition, from: stored[index] ?? .start, to: work.pair.checkpoint, applied: events)
    }
    let events = applied
    let prepared = events.isEmpty ? nil : try await projection.prepared(events, generation)
    let (start, begun) = (ContinuousClock.now, DefaultTracerClock.now)
    try await inTransaction { [generation, store] connection in
      try prepared?.write(connection, events, generation)
      try store.advance(advances, on: connection)
    }
    for work in work {
      pairs[work.pair.partition.index] = work.pair
      stored[work.pair.partition.index] = work.pair.checkpoint
    }
    metrics.events.increment(by: events.count)
    metrics.batchSize.record(events.count)
    metrics.batchTime.record(duration: ContinuousClock.now - start)
    spans.record(
      "apply", events, kind: .consumer, since: begun, attributes: ["counterflow.projection": projection.name])
  }

  /// In a task of its own, so that a shutdown lets the transaction in hand finish.
  func inTransaction(_ body: @escaping @Sendable (isolated PostgresConnection) throws -> Void) async throws {
    let readStore = readStore
    try await Task { try await readStore.transaction(body) }.value
  }

  /// Parks the stream of an event that was refused, or halts the pair where the event is not at fault.
  private func refuse(_ event: RecordedEvent, _ pair: Pair, _ error: any Error) async throws {
    metrics.refused.increment()
    let index = pair.partition.index
    let minuteAgo = ContinuousClock.now - .seconds(60)
    recentlyParked[index, default: []].removeAll { $0 < minuteAgo }
    let place: Logger.Metadata = [
      "partition": "\(pair.partition)", "position": "\(event.position)", "stream": "\(event.stream)",
      "type": "\(event.type)", "error": "\(error)",
    ]
    if Self.isUnknown(error) || recentlyParked[index]!.count >= settings.parkLimit {
      let reason = Self.isUnknown(error) ? "\(error)" : "many streams were parked within a minute; the last: \(error)"
      logger.critical("this partition stops here and is tried again later", metadata: place)
      var halted = pairs[index]!
      halted.halt(at: event.position, reason, retryAt: .now + settings.haltRetry)
      halted.checkpoint = stored[index]!
      pairs[index] = halted
      nextHeadCheck = .now
      return
    }
    let advance = PairStore.Advance(
      partition: pair.partition, from: stored[index]!, to: pair.checkpoint, applied: [])
    try await inTransaction { [store] connection in
      try store.park(event, pair.partition, error: "\(error)", on: connection)
      try store.advance([advance], on: connection)
    }
    parked[index, default: []].insert(event.stream)
    recentlyParked[index]!.append(.now)
    pairs[index] = pair
    stored[index] = pair.checkpoint
    logger.critical("an event was refused; its stream is parked, all others go on", metadata: place)
  }

  /// True when the events, and not a server, are at fault.
  static func isRefusal(_ error: any Error) -> Bool {
    switch error {
    case let error as PostgresError:
      guard case .server(let state) = error.code else { return error.code == .decoding }
      // What values and rules bring about. The others speak of the server's state, of rights or of the schema.
      return ["21", "22", "23", "38", "39", "44", "54", "P0"].contains(state.category)
    case is FencedError, is CancellationError, is EventStoreError: return false
    default: return true
    }
  }

  private static func isUnknown(_ error: any Error) -> Bool {
    switch error as? EventDecodingError {
    case .unknownType, .at(_, .unknownType): true
    default: false
    }
  }
}
