internal import EventSourcing
internal import Failures
internal import FoundationEssentials
internal import Logging
internal import Machine
internal import Metrics
internal import PostgresEventStore
internal import Tracing

// Writes rows, and finds the events that fail.
extension ProjectionRunner {
  /// Divides work so that no part gives the projection more events than it takes at once.
  func parts(of all: [Work]) -> [[Work]] {
    guard let limit = projection.batchLimit else { return [all] }
    var parts: [[Work]] = [[]]
    var count = 0
    for work in all {
      var rest = work.events
      for index in work.events.indices where needsWriting(work.events[index], work.assignment.partition.index) {
        count += 1
        guard count == limit else { continue }
        parts[parts.endIndex - 1].append(work.part(rest[...index]))
        parts.append([])
        (rest, count) = (rest[(index + 1)...], 0)
      }
      if !rest.isEmpty { parts[parts.endIndex - 1].append(work.part(rest)) }
    }
    return parts
  }

  /// Whether an earlier part has stopped the assignment.
  func isStopped(_ work: Work) -> Bool { assignments[work.assignment.partition.index]?.trouble != nil }

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
        guard !isStopped(work[0]) else { return }
        try await apply([work[0].part(half)])
      }
    } else {
      metrics.refused.increment()
      try await fail(work[0].events.first!, work[0].assignment)
    }
  }

  /// - Parameter isUrgent: whether a query may wait for rows; if false, at most for checkpoints.
  func write(_ work: [Work], isUrgent: Bool = true) async throws {
    var taken: [Int: [RecordedEvent]] = [:]
    var behind: [RecordedEvent] = []
    for work in work {
      let index = work.assignment.partition.index
      let split = events(in: work.events, index)
      taken[index] = split.handled
      behind += split.waiting
    }
    let (start, begun) = (Machine.now, DefaultTracerClock.now)
    let plan = try await planned(
      work.flatMap { taken[$0.assignment.partition.index] ?? [] }, of: Set(work.map(\.assignment.historyID)))
    // What a reaction refuses is known by event: nothing is bisected, and nothing is handled twice.
    let halted = haltWhereCrowded(plan?.refusals ?? [], work)
    let work = work.filter { !halted.contains($0.assignment.partition.index) }
    let refusals = (plan?.refusals ?? []).filter { !halted.contains(partition(of: $0).index) }
    let advances = work.map { work in
      let index = work.assignment.partition.index
      taken[index] = taken[index]?.filter { plan?.handles($0) ?? true }
      var applied = unwritten[index] ?? .init()
      applied.add(taken[index] ?? [], work.assignment.partition)
      return Advance(
        partition: work.assignment.partition, from: stored[index] ?? .start, to: work.assignment.checkpoint,
        applied: applied)
    }
    guard !advances.isEmpty else { return }
    let parking = refusals.map { park($0, partition(of: $0)) }
    let holding: [ParkingChange] =
      projection.isCorrelated && !behind.isEmpty ? [.hold(behind.map { (projection.sequence($0), $0) })] : []
    try await write(plan, and: parking + holding, moving: advances, isUrgent: isUrgent)
    for work in work { moved(work.assignment) }
    for refusal in refusals { noteParked(refusal) }
    let count = advances.reduce(0) { $0 + $1.applied.count }
    metrics.events.increment(by: count)
    metrics.batchSize.record(count)
    metrics.batchTime.record(duration: Machine.now - start)
    spans.record(
      "apply", work.flatMap { taken[$0.assignment.partition.index] ?? [] }, kind: .consumer, since: begun,
      attributes: ["counterflow.projection": projection.name])
  }

  /// Splits events that the projection takes: those that wait behind a parked event, and the others.
  func events(
    in events: some Sequence<RecordedEvent>, _ index: Int
  ) -> (handled: [RecordedEvent], waiting: [RecordedEvent]) {
    var split: (handled: [RecordedEvent], waiting: [RecordedEvent]) = ([], [])
    for event in events where projection.takes(event) {
      if waits(event, index) { split.waiting.append(event) } else { split.handled.append(event) }
    }
    return split
  }

  /// Whether the event waits behind a parked one.
  func waits(_ event: RecordedEvent, _ index: Int) -> Bool {
    guard let parked = parked[index], !parked.isEmpty else { return false }
    return parked.contains(projection.sequence(event))
  }

  private func park(_ refusal: Refusal, _ partition: Partition) -> ParkingChange {
    .park(refusal, projection.sequence(refusal.event), partition)
  }

  /// Records that an assignment's checkpoint is stored.
  private func moved(_ assignment: PartitionAssignment) {
    let index = assignment.partition.index
    (assignments[index], stored[index], unwritten[index]) = (assignment, assignment.checkpoint, nil)
  }

  /// - Parameter histories: the histories that the events are of.
  /// - Returns: nil if there are no events.
  func planned(_ events: [RecordedEvent], of histories: Set<UUID>) async throws -> BatchPlan? {
    guard !events.isEmpty, let history = histories.first else { return nil }
    guard histories.count == 1 else {
      throw EventStoreError.historyChanged("the write store was restored while its events were being read")
    }
    return try await projection.plan(events, generation, history)
  }

  /// Writes the rows that a batch changes, what waits and checkpoints in one transaction.
  func write(
    _ plan: BatchPlan?, and changes: [ParkingChange] = [], moving advances: [Advance], isUrgent: Bool = true
  ) async throws {
    var part = RoundPart(generation: generation, rows: plan, changes: changes)
    part.isLarge = plan != nil && advances.reduce(0) { $0 + $1.applied.count } > Self.largePart
    for advance in advances { part.move(advance) }
    try await rounds.write(part, of: laneID, isUrgent: isUrgent)
  }

  /// A transaction with more events is not shared with other lanes.
  private static var largePart: Int { 256 }

  /// Parks the stream of an event that failed. If that happens to many streams, halts the assignment instead.
  private func park(_ event: RecordedEvent, _ assignment: PartitionAssignment, _ error: any Error) async throws {
    let index = assignment.partition.index
    let refusal = Refusal(event, error: "\(error)", .person)
    guard !isCrowded(index) else { return halt(refusal, assignment) }
    let advance = Advance(
      partition: assignment.partition, from: stored[index]!, to: assignment.checkpoint,
      applied: unwritten[index] ?? .init())
    try await write(nil, and: [park(refusal, assignment.partition)], moving: [advance])
    moved(assignment)
    noteParked(refusal)
  }

  /// Whether so many streams of a partition were parked within a minute that they have one cause.
  private func isCrowded(_ index: Int) -> Bool {
    let minuteAgo = Machine.now - .seconds(60)
    recentlyParked[index, default: []].removeAll { $0 < minuteAgo }
    return recentlyParked[index]!.count >= settings.parkLimit
  }

  /// Halts the assignments with refused events of which too many streams were parked before.
  /// - Returns: the indexes of their partitions.
  private func haltWhereCrowded(_ refusals: [Refusal], _ work: [Work]) -> Set<Int> {
    var halted: Set<Int> = []
    for refusal in refusals where refusal.next != .underWay {
      metrics.refused.increment()
      guard refusal.mayHaveCommonCause else { continue }
      let index = partition(of: refusal).index
      guard isCrowded(index), halted.insert(index).inserted,
        let own = work.first(where: { $0.assignment.partition.index == index })
      else { continue }
      halt(refusal, own.assignment)
    }
    return halted
  }

  private func partition(of refusal: Refusal) -> Partition {
    generation.partitioning.partition(of: refusal.event.stream)
  }

  /// Records that a stream is parked now.
  private func noteParked(_ refusal: Refusal) {
    let own = partition(of: refusal)
    parked[own.index, default: []].insert(projection.sequence(refusal.event))
    // Events that are still being handled are few, and have not failed.
    guard refusal.next != .underWay else { return }
    if refusal.mayHaveCommonCause { recentlyParked[own.index, default: []].append(Machine.now) }
    var metadata = place(refusal.event, own, refusal.error)
    metadata["stream"] = "\(projection.sequence(refusal.event))"
    if refusal.next == .person {
      logger.critical("an event failed; its stream is parked, all other streams continue", metadata: metadata)
    } else {
      logger.warning(
        "an event failed; its stream waits for the next attempt, all other streams continue", metadata: metadata)
    }
  }

  private func halt(_ refusal: Refusal, _ assignment: PartitionAssignment) {
    halt(refusal.event, assignment, "many streams were parked within a minute; the last: \(refusal.error)")
  }

  /// Halts an assignment at an event: either the event is not at fault, or other events fail too.
  private func halt(_ event: RecordedEvent, _ assignment: PartitionAssignment, _ reason: String) {
    logger.critical(
      "this partition stops at this event; it is tried again later",
      metadata: place(event, assignment.partition, reason))
    let index = assignment.partition.index
    var halted = assignments[index]!
    halted.halt(at: event.position, reason, retryAt: Machine.now + settings.haltRetry)
    halted.checkpoint = stored[index]!
    moved(halted)
    nextHeadCheck = Machine.now
  }

  private func place(_ event: RecordedEvent, _ partition: Partition, _ reason: String) -> Logger.Metadata {
    [
      "partition": "\(partition)", "position": "\(event.position)", "stream": "\(event.stream)",
      "type": "\(event.type)", "error": "\(reason)",
    ]
  }
}
