internal import EventSourcing
internal import Failures
internal import Logging
internal import Machine
internal import Metrics
internal import PostgresEventStore

// Handles the operators' requests for parked streams, and retries those whose time has come.
extension ProjectionRunner {
  func handleRequests() async throws {
    // What this lane does not know to be parked is looked for as well, but less often.
    guard parked.values.contains(where: { !$0.isEmpty }) || Machine.now >= nextParkedLook else {
      return countParked([])
    }
    nextParkedLook = Machine.now + .seconds(10)
    // Events of these streams that arrived so far must lie before the checkpoints, or a retry would skip them.
    try await flush(now: true)
    var waiting: [Int: Set<StreamID>] = [:]
    let streams = try await store.parked(assignments.values.map(\.partition), of: generation)
    countParked(streams)
    for stream in streams {
      waiting[stream.partition, default: []].insert(stream.stream)
      guard let request = stream.request, let assignment = assignments[stream.partition], assignment.trouble == nil
      else { continue }
      if try await resume(stream, request) { waiting[stream.partition]?.remove(stream.stream) }
    }
    parked = waiting
  }

  private func countParked(_ streams: [ParkedPlace]) {
    let stuck = streams.count(where: \.needsAPerson)
    metrics.parked.record(stuck)
    metrics.retrying.record(streams.count - stuck)
  }

  /// Applies the events that have waited, in order, up to the assignment's checkpoint.
  /// - Returns: false if the stream stays parked, at the event that failed now.
  private func resume(_ stream: ParkedPlace, _ request: ParkedPlace.Request) async throws -> Bool {
    guard let checkpoint = stored[stream.partition], let assignment = assignments[stream.partition] else {
      return false
    }
    let (partition, history) = (assignment.partition, assignment.historyID)
    var place = stream
    var discards = request == .discard
    var limit = projection.batchLimit ?? settings.batchSize
    while true {
      // Reads one event more than is applied at once: after this transaction the stream waits at that event. Events after
      // the checkpoint are applied with those of the other streams.
      let due = try await waiting(in: place, limit: limit + 1).filter { $0.position <= checkpoint.position }
      let page = due.prefix(limit)
      let next = due.dropFirst(limit).first
      let taken = Array(page.dropFirst(discards ? 1 : 0)).filter(projection.takes)
      var applied: [RecordedEvent] = []
      do {
        let plan = try await planned(taken, of: [history])
        let refusal = plan?.refusals.first
        applied = taken.filter { plan?.handles($0) ?? true }
        let given: [ParkingChange] = [.durably, .expect(place)] + (discards ? [.discard(stream.stream)] : [])
        let last: ParkingChange =
          refusal.map { .park($0, stream.stream, partition) } ?? next.map { .resume(stream.stream, at: $0) }
          ?? .unpark(stream.stream)
        var addition = Ledger.Addition()
        addition.add(applied, partition)
        let advance = Advance(partition: partition, from: checkpoint, to: checkpoint, applied: addition)
        try await write(plan, and: given + [last] + released(refusal?.event ?? next, stream), moving: [advance])
        if let refusal {
          metrics.events.increment(by: applied.count)
          if refusal.next != .underWay { logRefusal(stream.stream, refusal.error) }
          return false
        }
      } catch {
        switch FailureKind(error) {
        case .retry, .historyChanged: throw error
        // The stream is parked already, and stays parked: this failure stops no other stream.
        case .refused, .programmingError: break
        }
        guard let first = page.first else { throw error }
        guard page.count == 1 || (discards && page.count == 2) else {
          limit = discards ? 2 : 1
          continue
        }
        let refused = page.last ?? first
        let stay = Advance(partition: partition, from: checkpoint, to: checkpoint, applied: .init())
        let given: [ParkingChange] =
          [.durably, .expect(place)]
          + (discards && refused.version != first.version ? [.discard(stream.stream)] : [])
        let refusal = Refusal(refused, error: "\(error)", .person)
        try await write(
          nil, and: given + [.park(refusal, stream.stream, partition)] + released(refused, stream), moving: [stay])
        logRefusal(stream.stream, refusal.error)
        return false
      }
      metrics.events.increment(by: applied.count)
      discards = false
      guard let next else {
        logger.notice("a parked stream continues", metadata: ["stream": "\(stream.stream)"])
        return true
      }
      (place.version, place.position) = (next.version, next.position)
    }
  }

  /// Returns the first events of a parked stream, or process, from the one that it waits at.
  private func waiting(in parked: ParkedPlace, limit: Int) async throws -> [RecordedEvent] {
    guard projection.isCorrelated else {
      let cursor = StreamCursor(version: Version(parked.version.rawValue - 1))
      return try await events.events(in: [parked.stream: cursor], limit: limit)[parked.stream] ?? []
    }
    var found: [RecordedEvent] = []
    for position in try await [parked.position] + store.held(behind: parked, of: generation, limit: limit - 1) {
      found += try await events.events(after: Position(position.rawValue - 1), limit: 1)
    }
    return found
  }

  /// A parked process waits at that event now; nil if it waits no longer.
  private func released(_ event: RecordedEvent?, _ parked: ParkedPlace) -> [ParkingChange] {
    projection.isCorrelated ? [.release(parked.stream, upTo: event?.position)] : []
  }

  private func logRefusal(_ stream: StreamID, _ error: String) {
    logger.error("an event of a parked stream failed again", metadata: ["stream": "\(stream)", "error": "\(error)"])
  }
}
