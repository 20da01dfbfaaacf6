internal import EventSourcing
internal import Failures
internal import Logging
internal import Metrics
internal import Postgres
internal import PostgresEventStore
internal import Tracing

// Writes rows, and finds the events that fail.
extension ProjectionRunner {
  /// Writes the rows and checkpoints of all `work` in one transaction. If an event fails, only its stream is parked
  /// or only its assignment is halted; everything else is applied.
  func apply(_ work: [Work]) async throws {
    do {
      try await write(work)
    } catch {
      switch FailureKind(error) {
      // The events are not at fault. The same work comes again once the servers answer, or once an operator has
      // declared which history is valid.
      case .retry, .historyChanged: throw error
      case .refused: try await divide(work) { try await self.park($0, $1, error) }
      case .programmingError: try await divide(work) { self.halt($0, $1, "\(error)") }
      }
    }
  }

  /// Applies each assignment alone, then bisects the events of the assignment that fails.
  /// - Parameter fail: called when only one event is left.
  private func divide(_ work: [Work], _ fail: (RecordedEvent, PartitionAssignment) async throws -> Void) async throws {
    if work.count > 1 {
      for one in work { try await apply([one]) }
    } else if work[0].events.count > 1 {
      let events = work[0].events
      let middle = events.startIndex + events.count / 2
      for half in [events[..<middle], events[middle...]] {
        guard assignments[work[0].assignment.partition.index]?.trouble == nil else { return }
        var assignment = work[0].assignment
        assignment.checkpoint = Checkpoint(position: half.last!.position, eventID: half.last!.id)
        try await apply([Work(assignment: assignment, events: half)])
      }
    } else {
      metrics.refused.increment()
      try await fail(work[0].events.first!, work[0].assignment)
    }
  }

  /// - Parameter isUrgent: whether a query may wait for rows; if false, at most for checkpoints.
  func write(_ work: [Work], isUrgent: Bool = true) async throws {
    var applied: [RecordedEvent] = []
    let advances = work.map { work in
      let index = work.assignment.partition.index
      let waiting = parked[index] ?? []
      let events = work.events.filter { projection.takes($0) && !waiting.contains($0.stream) }
      applied += events
      return AssignmentStore.Advance(
        partition: work.assignment.partition, from: stored[index] ?? .start, to: work.assignment.checkpoint,
        applied: events)
    }
    let events = applied
    let (start, begun) = (ContinuousClock.now, DefaultTracerClock.now)
    try await write(events, moving: advances, isUrgent: isUrgent)
    for work in work {
      assignments[work.assignment.partition.index] = work.assignment
      stored[work.assignment.partition.index] = work.assignment.checkpoint
    }
    metrics.events.increment(by: events.count)
    metrics.batchSize.record(events.count)
    metrics.batchTime.record(duration: ContinuousClock.now - start)
    spans.record(
      "apply", events, kind: .consumer, since: begun, attributes: ["counterflow.projection": projection.name])
  }

  /// Writes the rows that the events change, other statements and checkpoints in one transaction.
  func write(
    _ events: [RecordedEvent], and others: [Query] = [], moving advances: [AssignmentStore.Advance],
    isUrgent: Bool = true
  ) async throws {
    let plan = events.isEmpty ? nil : try await projection.plan(events, generation)
    let (moves, ledger) = store.advance(advances)
    let part = RoundPart(load: plan?.load, isLarge: events.count > Self.largePart, moves: moves) { rows in
      try (plan?.statements(rows) ?? []) + (others + ledger).map(Statement.query)
    }
    do { try await rounds.write(part, of: lane, isUrgent: isUrgent) } catch let error as PostgresError
      where error.code == .server(.fenced)
    { throw FencedError(projection: projection.name) }
  }

  /// A transaction with more events is not shared with other lanes.
  private static var largePart: Int { 256 }

  /// Parks the stream of an event that failed. If that happens to many streams, halts the assignment instead.
  private func park(_ event: RecordedEvent, _ assignment: PartitionAssignment, _ error: any Error) async throws {
    let index = assignment.partition.index
    let minuteAgo = ContinuousClock.now - .seconds(60)
    recentlyParked[index, default: []].removeAll { $0 < minuteAgo }
    guard recentlyParked[index]!.count < settings.parkLimit else {
      return halt(event, assignment, "many streams were parked within a minute; the last: \(error)")
    }
    let advance = AssignmentStore.Advance(
      partition: assignment.partition, from: stored[index]!, to: assignment.checkpoint, applied: [])
    try await write([], and: [store.park(event, assignment.partition, error: "\(error)")], moving: [advance])
    parked[index, default: []].insert(event.stream)
    recentlyParked[index]!.append(.now)
    assignments[index] = assignment
    stored[index] = assignment.checkpoint
    logger.critical(
      "an event was refused; its stream is parked, all others go on", metadata: place(event, assignment, "\(error)"))
  }

  /// Halts an assignment at an event: either the event is not at fault, or other events fail too.
  private func halt(_ event: RecordedEvent, _ assignment: PartitionAssignment, _ reason: String) {
    logger.critical("this partition stops here and is tried again later", metadata: place(event, assignment, reason))
    let index = assignment.partition.index
    var halted = assignments[index]!
    halted.halt(at: event.position, reason, retryAt: .now + settings.haltRetry)
    halted.checkpoint = stored[index]!
    assignments[index] = halted
    nextHeadCheck = .now
  }

  private func place(_ event: RecordedEvent, _ assignment: PartitionAssignment, _ reason: String) -> Logger.Metadata {
    [
      "partition": "\(assignment.partition)", "position": "\(event.position)", "stream": "\(event.stream)",
      "type": "\(event.type)", "error": "\(reason)",
    ]
  }
}
