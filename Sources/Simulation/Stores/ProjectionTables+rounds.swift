internal import EventSourcing
internal import Failures
internal import FoundationEssentials
internal import Projections

/// A row with the same primary key is there already.
private struct DoubleRow: ClassifiedError, CustomStringConvertible {
  let description: String
  var failureKind: FailureKind { .refused }
}

extension ProjectionTables {
  /// Writes all parts, or nothing.
  /// - Parameter events: the store's own events, for checkpoints of reactions; nil in a read store.
  mutating func write(_ parts: [RoundPart], by worker: UUID, _ events: EventTable?, at now: Timestamp) throws {
    for part in parts where generations[GenerationKey(part.generation)] == nil {
      let hasTables = part.rows != nil && !Projection.isReaction(part.generation.projection)
      if hasTables { throw ProjectionsError("the generation and its tables are not there any more") }
    }
    let changes = try parts.compactMap { try $0.rows?.inMemory(rows) }
    for part in parts { try check(part, worker, events) }
    for change in changes { rows.make(change) }
    for part in parts {
      let key = GenerationKey(part.generation)
      for change in part.changes { make(change, key, part.generation, at: now) }
      for (block, entry) in part.ledger { count(entry, LedgerKey(generation: key, block: block)) }
      for move in part.moves { make(move, key) }
    }
  }

  private func check(_ part: RoundPart, _ worker: UUID, _ events: EventTable?) throws {
    let key = GenerationKey(part.generation)
    for change in part.changes {
      switch change {
      case .expect(let place):
        guard parked[key]?[place.stream]?.position == place.position else { throw FencedError() }
      case .hold(let held):
        for (process, event) in held where waiting[key]?[process]?[event.position] != nil {
          throw DoubleRow(description: "event \(event.position) waits behind \(process) already")
        }
      case .discard(let stream):
        if let place = parked[key]?[stream]?.position, discarded[key]?.contains(place) ?? false {
          throw DoubleRow(description: "event \(place) was discarded already")
        }
      case .durably, .park, .resume, .unpark, .release: break
      }
    }
    for move in part.moves {
      guard let stored = checkpoints[key]?[move.partition], stored.owner == worker, stored.position == move.from else {
        throw FencedError()
      }
      if let events, Projection.isReaction(key.projection), move.to.position > .start,
        events.event(at: move.to.position)?.id != move.to.eventID
      {
        throw FencedError()
      }
    }
  }

  private mutating func count(_ entry: Ledger.Entry, _ key: LedgerKey) {
    ledger[key, default: .init()].count += entry.count
    ledger[key]!.ids ^= entry.ids
  }

  private mutating func make(_ move: RoundPart.Move, _ key: GenerationKey) {
    var stored = checkpoints[key]![move.partition]
    let (before, after) = (
      Ledger.Key(partition: move.partition, block: stored.position.rawValue >> Ledger.blockBits),
      Ledger.Key(partition: move.partition, block: move.to.position.rawValue >> Ledger.blockBits)
    )
    if before != after {
      if stored.applied != 0 {
        count(.init(count: stored.applied, ids: stored.ids), LedgerKey(generation: key, block: before))
      }
      (stored.applied, stored.ids) = (0, 0)
    }
    stored.applied += move.applied.count
    stored.ids ^= move.applied.ids
    (stored.position, stored.eventID, stored.error) = (move.to.position, move.to.eventID, nil)
    checkpoints[key]![move.partition] = stored
  }

  private mutating func make(
    _ change: ParkingChange, _ key: GenerationKey, _ generation: Generation, at now: Timestamp
  ) {
    switch change {
    case .durably, .expect: break
    case .park(let refusal, let stream, let partition):
      let isUnderWay = refusal.next == .underWay
      var retryAt = isUnderWay ? now : nil
      if case .retry(let delay) = refusal.next { retryAt = now.advanced(by: delay) }
      let before = parked[key]?[stream]
      parked[key, default: [:]][stream] = StoredParked(
        partition: before?.partition ?? partition.index, version: refusal.event.version,
        position: refusal.event.position, eventID: refusal.event.id, error: refusal.error,
        attempts: (before?.attempts ?? 0) + (isUnderWay ? 0 : 1), request: isUnderWay ? .retry : nil, retryAt: retryAt)
    case .discard(let stream):
      if let place = parked[key]?[stream]?.position { discarded[key, default: []].insert(place) }
    case .resume(let stream, let event):
      guard var place = parked[key]?[stream] else { return }
      (place.version, place.position, place.eventID) = (event.version, event.position, event.id)
      (place.request, place.retryAt) = (.retry, now)
      parked[key]![stream] = place
    case .unpark(let stream): parked[key]?[stream] = nil
    case .hold(let held):
      for (process, event) in held { waiting[key, default: [:]][process, default: [:]][event.position] = event.id }
    case .release(let stream, let last):
      let left = waiting[key]?[stream] ?? [:]
      waiting[key]?[stream] = last.map { last in left.filter { $0.key > last } }
    }
  }

  /// All applied events: their number, and the xor of the lower halves of their ids, by partition.
  func applied(_ key: GenerationKey) -> [Int: Ledger.Entry] {
    var all: [Int: Ledger.Entry] = [:]
    for (place, entry) in ledger where place.generation == key {
      all[place.block.partition, default: .init()].count += entry.count
      all[place.block.partition]!.ids ^= entry.ids
    }
    for (partition, stored) in checkpoints[key, default: []].enumerated() where stored.applied != 0 {
      all[partition, default: .init()].count += stored.applied
      all[partition]!.ids ^= stored.ids
    }
    return all
  }
}
