internal import EventSourcing
internal import FoundationEssentials
internal import Projections

// Assignments, and what waits in parked streams.
extension ProjectionTables {
  mutating func claim(_ count: Int, _ lane: Lane, at now: Timestamp) -> [StoredAssignment] {
    let key = GenerationKey(lane.generation)
    guard generations[key]?.version == lane.generation.version else { return [] }
    let free = checkpoints[key, default: []].indices.filter { index in
      let owner = checkpoints[key]![index].owner
      return index % lane.count == lane.number && owner != lane.worker && !isAlive(owner, at: now)
    }
    return free.prefix(count).map { index in
      checkpoints[key]![index].owner = lane.worker
      checkpoints[key]![index].mode = "catching up"
      return assignment(key, index, lane)
    }
  }

  private func assignment(_ key: GenerationKey, _ index: Int, _ lane: Lane) -> StoredAssignment {
    let stored = checkpoints[key]![index]
    return StoredAssignment(
      partition: lane.generation.partitioning.partitions[index], historyID: stored.historyID,
      checkpoint: Checkpoint(position: stored.position, eventID: stored.eventID))
  }

  func owned(_ lane: Lane) -> [StoredAssignment] {
    let key = GenerationKey(lane.generation)
    return checkpoints[key, default: []].indices
      .filter { checkpoints[key]![$0].owner == lane.worker && $0 % lane.count == lane.number }
      .map { assignment(key, $0, lane) }
  }

  mutating func release(_ partitions: [Partition], _ lane: Lane) {
    let key = GenerationKey(lane.generation)
    for partition in partitions where checkpoints[key]?[partition.index].owner == lane.worker {
      checkpoints[key]![partition.index].owner = nil
      checkpoints[key]![partition.index].mode = "catching up"
    }
  }

  mutating func report(_ reports: [AssignmentReport], _ lane: Lane) {
    let key = GenerationKey(lane.generation)
    for report in reports where checkpoints[key]?[report.partition.index].owner == lane.worker {
      checkpoints[key]![report.partition.index].mode = report.mode
      checkpoints[key]![report.partition.index].error = report.reason
    }
  }

  func parked(_ partitions: [Partition], of generation: Generation, at now: Timestamp) -> [ParkedPlace] {
    let indexes = Set(partitions.map(\.index))
    return parked[GenerationKey(generation), default: [:]].filter { indexes.contains($0.value.partition) }
      .sorted { $0.value.position < $1.value.position }
      .map { stream, stored in
        let isDue = stored.retryAt.map { $0 <= now } ?? false
        return ParkedPlace(
          stream: stream, partition: stored.partition, version: stored.version, position: stored.position,
          request: stored.request ?? (isDue ? .retry : nil),
          needsAPerson: stored.request == nil && stored.retryAt == nil)
      }
  }

  func held(behind parked: ParkedPlace, of generation: Generation, limit: Int) -> [Position] {
    Array(
      (waiting[GenerationKey(generation)]?[parked.stream] ?? [:]).keys.filter { $0 > parked.position }.sorted()
        .prefix(limit))
  }

  /// An operator asks for parked streams to be tried again.
  mutating func retryParked(at now: Timestamp) {
    for (key, streams) in parked {
      for stream in streams.keys {
        parked[key]![stream]!.request = .retry
        parked[key]![stream]!.retryAt = now
      }
    }
  }

  /// Checkpoints of reactions that are in the store's history belong to its new one.
  mutating func adopt(_ historyID: UUID, _ events: EventTable) {
    for (key, rows) in checkpoints where Projection.isReaction(key.projection) {
      for (index, row) in rows.enumerated()
      where row.position == .start || events.event(at: row.position)?.id == row.eventID {
        checkpoints[key]![index].historyID = historyID
      }
    }
  }
}
