internal import EventSourcing
internal import Failures
internal import Logging
internal import Metrics
internal import Postgres
internal import PostgresEventStore

// What somebody has asked for of parked streams.
extension ProjectionRunner {
  func handleRequests() async throws {
    guard parked.values.contains(where: { !$0.isEmpty }) else { return }
    // What came for these streams up to here must lie before the checkpoints, or a retry would leave it out.
    try await flush(now: true)
    var waiting: [Int: Set<StreamID>] = [:]
    for stream in try await store.parked(assignments.values.map(\.partition), on: readStore) {
      waiting[stream.partition, default: []].insert(stream.stream)
      guard let request = stream.request, let assignment = assignments[stream.partition], assignment.trouble == nil
      else { continue }
      if try await resume(stream, request) { waiting[stream.partition]?.remove(stream.stream) }
    }
    parked = waiting
  }

  /// Applies what has waited, in order, up to the assignment's checkpoint.
  /// - Returns: false when the stream goes on waiting, at the event that is refused now.
  private func resume(_ stream: AssignmentStore.Parked, _ request: AssignmentStore.Parked.Request) async throws -> Bool
  {
    guard let checkpoint = stored[stream.partition], let partition = assignments[stream.partition]?.partition else {
      return false
    }
    var version = stream.version
    var discards = request == .discard
    var limit = settings.batchSize
    while true {
      let cursor = StreamCursor(version: Version(version.rawValue - 1))
      // One more than is applied at once: the one that the stream waits at then.
      let found = try await events.events(in: [stream.stream: cursor], limit: limit + 1)[stream.stream] ?? []
      // What lies beyond the checkpoint comes with the others.
      let due = found.filter { $0.position <= checkpoint.position }
      let page = due.prefix(limit)
      let next = due.dropFirst(limit).first
      let applied = Array(page.dropFirst(discards ? 1 : 0)).filter(projection.takes)
      let advance = AssignmentStore.Advance(partition: partition, from: checkpoint, to: checkpoint, applied: applied)
      do {
        let given = [AssignmentStore.durably] + (discards ? [store.discard(stream.stream)] : [])
        let last = next.map { store.resume(at: $0) } ?? store.unpark(stream.stream)
        try await write(applied, and: given + [last], moving: [advance])
      } catch {
        switch FailureKind(error) {
        case .retry, .historyChanged: throw error
        // It waits already, and goes on waiting: what is at fault here stops nobody else.
        case .refused, .programmingError: break
        }
        guard let first = page.first else { throw error }
        guard page.count == 1 || (discards && page.count == 2) else {
          limit = discards ? 2 : 1
          continue
        }
        let refused = page.last ?? first
        let stay = AssignmentStore.Advance(partition: partition, from: checkpoint, to: checkpoint, applied: [])
        let given =
          [AssignmentStore.durably]
          + (discards && refused.version != first.version ? [store.discard(stream.stream)] : [])
        try await write([], and: given + [store.park(refused, partition, error: "\(error)")], moving: [stay])
        logger.error("a parked stream is refused again", metadata: ["stream": "\(stream.stream)", "error": "\(error)"])
        return false
      }
      metrics.events.increment(by: applied.count)
      discards = false
      guard let next else {
        logger.notice("a parked stream goes on", metadata: ["stream": "\(stream.stream)"])
        return true
      }
      version = next.version
    }
  }
}
