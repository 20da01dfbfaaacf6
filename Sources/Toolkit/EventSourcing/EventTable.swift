package import FoundationEssentials

/// What an event store in memory holds, with the semantics of `event_store.append` and of the functions that read.
package struct EventTable: Sendable {
  package private(set) var events: [RecordedEvent] = []
  private var streams: [StreamID: [Int]] = [:]
  /// The indexes of the events in each of the finest partitions.
  private var buckets: [[Int]] = Array(repeating: [], count: Partitioning.finest.count)
  private var responses: [IdempotencyKey: StoredResponse] = [:]
  private var snapshots: [StreamID: [Int: Snapshot]] = [:]
  package private(set) var deadlines: [UUID: StoredDeadline] = [:]
  package var historyID: UUID

  package struct StoredDeadline: Sendable {
    package let deadline: Deadline
    package let dueAt: Timestamp
    /// In the order in which they were scheduled.
    package let order: Int
    var retryAt: Timestamp?
    package var hasFailed = false
  }

  package init(historyID: UUID) { self.historyID = historyID }

  package var head: Position { Position(Int64(events.count)) }

  package func event(at position: Position) -> RecordedEvent? {
    position > .start && position <= head ? events[Int(position.rawValue) - 1] : nil
  }

  /// The history that a caller knows, and one of its events.
  package struct Known: Sendable {
    package var historyID: UUID?
    package var position = Position.start
    package var eventID: UUID?

    package init(historyID: UUID? = nil) { self.historyID = historyID }
  }

  /// The last position up to which two tables have the same events.
  package func commonHead(with other: EventTable) -> Position {
    var count = min(events.count, other.events.count)
    while count > 0, events[count - 1].id != other.events[count - 1].id { count -= 1 }
    return Position(Int64(count))
  }

  package enum Answer: Sendable {
    case done(AppendResult)
    /// The caller's history is not this one.
    case otherHistory(UUID, String)
  }

  /// - Parameters:
  ///   - known: what the caller knows.
  ///   - now: the server's time.
  package mutating func append(_ batch: AppendBatch, known: Known, at now: Timestamp) -> Answer {
    guard known.historyID == historyID else { return .otherHistory(historyID, "another history id") }
    if known.position > .start, event(at: known.position)?.id != known.eventID {
      return .otherHistory(historyID, "event \(known.position) is gone; the store ends at \(head)")
    }
    var repeats: [Int: StoredResponse] = [:]
    for (index, command) in batch.commands.enumerated() { repeats[index] = responses[command.key] }
    var conflicts: [StreamID: Version] = [:]
    for (stream, expected) in batch.expectedVersions where version(of: stream) != expected {
      conflicts[stream] = version(of: stream)
    }
    guard conflicts.isEmpty, !repeats.keys.contains(where: { batch.commands[$0].eventCount > 0 }) else {
      return .done(.notAppended(conflicts: conflicts, repeats: repeats))
    }
    let first = head.advanced(by: 1)
    let recordedAt = max(now, events.last?.recordedAt ?? now)
    for event in batch.events { add(event, recordedAt) }
    for (index, command) in batch.commands.enumerated() where repeats[index] == nil {
      guard let response = command.response else { continue }
      responses[command.key] = StoredResponse(fingerprint: command.fingerprint, text: response.text(first: first))
      for deadline in command.deadlines {
        let dueAt =
          switch deadline.due {
          case .at(let time): time
          case .after(let delay): recordedAt.advanced(by: max(delay, .zero))
          }
        deadlines[deadline.id] = StoredDeadline(deadline: deadline, dueAt: dueAt, order: deadlinesSet)
        deadlinesSet += 1
      }
    }
    for command in batch.commands { if let fired = command.firing { deadlines[fired] = nil } }
    return .done(.appended(first: first, recordedAt: recordedAt, repeats: repeats))
  }

  private var deadlinesSet = 0

  private mutating func add(_ event: NewEvent, _ recordedAt: Timestamp) {
    let recorded = RecordedEvent(
      position: head.advanced(by: 1), stream: event.stream, version: version(of: event.stream).advanced(by: 1),
      hash: event.stream.hash, id: event.id, type: event.type, schemaVersion: event.schemaVersion, data: event.data,
      metadata: event.metadata, recordedAt: recordedAt)
    streams[event.stream, default: []].append(events.count)
    buckets[Partitioning.finest.partition(ofHash: recorded.hash).index].append(events.count)
    events.append(recorded)
  }

  private func version(of stream: StreamID) -> Version { Version(Int64(streams[stream]?.count ?? 0)) }

  package func events(in stream: StreamID, after version: Version, limit: Int) -> [RecordedEvent] {
    (streams[stream] ?? []).dropFirst(Int(version.rawValue)).prefix(limit).map { events[$0] }
  }

  package func events(in all: [StreamID: StreamCursor], limit: Int) -> [StreamID: [RecordedEvent]] {
    all.reduce(into: [:]) { found, stream in
      let own = events(in: stream.key, after: stream.value.version, limit: limit)
      if !own.isEmpty { found[stream.key] = own }
    }
  }

  package func events(after position: Position, limit: Int) -> [RecordedEvent] {
    Array(events.dropFirst(Int(position.rawValue)).prefix(limit))
  }

  package func snapshots(of wanted: [StreamID: Int]) -> [StreamID: Snapshot] {
    wanted.reduce(into: [:]) { found, stream in
      guard let snapshot = snapshots[stream.key]?[stream.value], isInHistory(snapshot) else { return }
      found[stream.key] = snapshot
    }
  }

  package mutating func save(_ snapshot: Snapshot) {
    let known = snapshots[snapshot.stream]?[snapshot.schemaVersion]
    if known.map({ $0.version < snapshot.version || !isInHistory($0) }) ?? true {
      snapshots[snapshot.stream, default: [:]][snapshot.schemaVersion] = snapshot
    }
  }

  private func isInHistory(_ snapshot: Snapshot) -> Bool { event(at: snapshot.position)?.id == snapshot.eventID }

  package func page(
    of partition: Partition, from position: Position, categories: Set<String>, limit: PageLimit
  ) -> PartitionPage {
    // Where each range of hashes continues.
    var next = partition.buckets.map { bucket in
      (bucket: bucket, place: buckets[bucket].partitioningIndex { events[$0].position >= position })
    }
    var (page, bytes, isFirst): ([RecordedEvent], Int, Bool) = ([], 0, true)
    var room = limit.events
    var leftOut: RecordedEvent?
    while true {
      let candidates = next.indices.filter { next[$0].place < buckets[next[$0].bucket].count }
      guard let chosen = candidates.min(by: { place(next[$0]) < place(next[$1]) }) else {
        if let leftOut { page.append(leftOut) }
        return PartitionPage(events: page, isLast: true)
      }
      let event = events[place(next[chosen])]
      next[chosen].place += 1
      let isWanted = isFirst || categories.contains(String(event.stream.category))
      leftOut = isWanted ? nil : event
      if isWanted {
        page.append(event)
        if !isFirst { bytes += event.data.count + event.metadata.count }
      }
      isFirst = false
      room -= 1
      guard room > 0, bytes < limit.bytes else { break }
    }
    if let leftOut { page.append(leftOut) }
    return PartitionPage(events: page, isLast: false)
  }

  private func place(_ next: (bucket: Int, place: Int)) -> Int { buckets[next.bucket][next.place] }

  package func heads(of partitioning: Partitioning) -> [PartitionHead] {
    partitioning.partitions.map { partition in
      let last = partition.buckets.compactMap { buckets[$0].last }.max().map { events[$0] }
      return PartitionHead(partition: partition, position: last?.position ?? .start, eventID: last?.id)
    }
  }

  // MARK: Deadlines
  /// Returns those that are due, the oldest first.
  package func due(_ names: [String], atMost limit: Int, at now: Timestamp) -> [Deadline] {
    deadlines.values
      .filter {
        !$0.hasFailed && $0.dueAt <= now && ($0.retryAt ?? now) <= now && names.contains($0.deadline.command)
      }
      .sorted { ($0.dueAt, $0.order) < ($1.dueAt, $1.order) }.prefix(limit).map(\.deadline)
  }

  package mutating func removeDeadline(_ id: UUID) { deadlines[id] = nil }
  package mutating func postponeDeadline(_ id: UUID, until time: Timestamp) { deadlines[id]?.retryAt = time }
  package mutating func failDeadline(_ id: UUID) { deadlines[id]?.hasFailed = true }
}

extension Array {
  /// Returns the first index whose element meets a condition that all later ones meet too.
  fileprivate func partitioningIndex(where isAfter: (Element) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if isAfter(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
