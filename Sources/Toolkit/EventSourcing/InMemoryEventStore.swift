public import FoundationEssentials
internal import Machine

/// An event store in memory, without durability: for experiments, and for tests of code that uses a store.
public actor InMemoryEventStore: EventStore {
  private var all: [RecordedEvent] = []
  private var streams: [StreamID: [RecordedEvent]] = [:]
  private var responses: [IdempotencyKey: StoredResponse] = [:]
  private var snapshots: [StreamID: [Int: Snapshot]] = [:]
  /// What was scheduled, and has not been carried out; the oldest first.
  public private(set) var deadlines: [PendingDeadline] = []
  private let id = Machine.uuid()
  public nonisolated var knownHistoryID: UUID? { id }
  private let clock: @Sendable () -> Timestamp

  /// Creates an empty store with a new history id.
  /// - Parameter clock: Gives the time of each append.
  public init(clock: @escaping @Sendable () -> Timestamp = { .now }) { self.clock = clock }

  /// A scheduled command that waits.
  public struct PendingDeadline: Sendable, Hashable {
    /// The command, and when it is due.
    public let deadline: Deadline
    /// The time at which it is due.
    public let dueAt: Timestamp
  }

  public func append(_ batch: AppendBatch) -> AppendResult {
    if let historyID = batch.historyID, historyID != id { return .restored() }
    var repeats: [Int: StoredResponse] = [:]
    for (index, command) in batch.commands.enumerated() { repeats[index] = responses[command.key] }
    var conflicts: [StreamID: Version] = [:]
    for (stream, expected) in batch.expectedVersions where version(of: stream) != expected {
      conflicts[stream] = version(of: stream)
    }
    guard conflicts.isEmpty, !repeats.keys.contains(where: { batch.commands[$0].eventCount > 0 }) else {
      return .notAppended(conflicts: conflicts, repeats: repeats)
    }
    let first = Position(Int64(all.count) + 1)
    let recordedAt = max(clock(), all.last?.recordedAt ?? Timestamp.range.lowerBound)
    for event in batch.events {
      let recorded = RecordedEvent(
        position: Position(Int64(all.count) + 1), stream: event.stream,
        version: version(of: event.stream).advanced(by: 1), hash: event.stream.hash, id: event.id, type: event.type,
        schemaVersion: event.schemaVersion, data: event.data, metadata: event.metadata, recordedAt: recordedAt)
      all.append(recorded)
      streams[event.stream, default: []].append(recorded)
    }
    for (index, command) in batch.commands.enumerated() where repeats[index] == nil {
      guard let response = command.response else { continue }
      responses[command.key] = StoredResponse(fingerprint: command.fingerprint, text: response.text(first: first))
      if let fired = command.firing { removeDeadline(fired) }
      for deadline in command.deadlines { add(deadline, recordedAt) }
    }
    return .appended(first: first, recordedAt: recordedAt, repeats: repeats)
  }

  public func appendHoldingLocks(
    refreshing streams: [StreamID: StreamCursor], limit: Int,
    _ decide: @escaping @Sendable ([StreamID: [RecordedEvent]]) -> AppendBatch?
  ) -> AppendResult? {
    decide(events(in: streams, limit: limit)).map { append($0) }
  }

  public func events(in stream: StreamID, after version: Version, limit: Int) -> [RecordedEvent] {
    Array(streams[stream, default: []].dropFirst(Int(version.rawValue)).prefix(limit))
  }

  public func events(in streams: [StreamID: StreamCursor], limit: Int) -> [StreamID: [RecordedEvent]] {
    streams.reduce(into: [:]) { found, stream in
      let events = events(in: stream.key, after: stream.value.version, limit: limit)
      if !events.isEmpty { found[stream.key] = events }
    }
  }

  public func snapshots(of streams: [StreamID: Int]) -> [StreamID: Snapshot] {
    streams.reduce(into: [:]) { found, stream in
      guard let snapshot = snapshots[stream.key]?[stream.value] else { return }
      let event = events(in: stream.key, after: Version(snapshot.version.rawValue - 1), limit: 1).first
      if event?.id == snapshot.eventID { found[stream.key] = snapshot }
    }
  }

  public func save(_ snapshot: Snapshot) {
    let known = snapshots[snapshot.stream]?[snapshot.schemaVersion]
    if known.map({ $0.version < snapshot.version }) ?? true {
      snapshots[snapshot.stream, default: [:]][snapshot.schemaVersion] = snapshot
    }
  }

  public func events(after position: Position, limit: Int) -> [RecordedEvent] {
    Array(all.dropFirst(Int(position.rawValue)).prefix(limit))
  }

  public func page(
    of partition: Partition, from position: Position, categories: Set<String>, limit: PageLimit
  ) -> PartitionPage {
    var (events, bytes, isLast): ([RecordedEvent], Int, Bool) = ([], 0, true)
    var leftOut: RecordedEvent?
    let rest = all.lazy.filter { $0.position >= position && partition.contains($0.stream) }
    for (index, event) in rest.enumerated() {
      let isWanted = index == 0 || categories.contains(String(event.stream.category))
      leftOut = isWanted ? nil : event
      if isWanted {
        events.append(event)
        if index > 0 { bytes += event.data.count + event.metadata.count }
      }
      if index + 1 >= limit.events || bytes >= limit.bytes {
        isLast = false
        break
      }
    }
    if let leftOut { events.append(leftOut) }
    return PartitionPage(events: events, isLast: isLast)
  }

  public func head() -> Position { Position(Int64(all.count)) }

  public func heads(of partitioning: Partitioning) -> [PartitionHead] {
    partitioning.partitions.map { partition in
      let last = all.last { partition.contains($0.stream) }
      return PartitionHead(partition: partition, position: last?.position ?? .start, eventID: last?.id)
    }
  }

  public func historyID() -> UUID { id }

  /// Removes a scheduled command, as an append does with the one that it carries out.
  public func removeDeadline(_ id: UUID) { deadlines.removeAll { $0.deadline.id == id } }

  private func add(_ deadline: Deadline, _ recordedAt: Timestamp) {
    let dueAt =
      switch deadline.due {
      case .at(let time): time
      case .after(let delay): recordedAt.advanced(by: max(delay, .zero))
      }
    // After those that are due at the same time.
    let place = deadlines.firstIndex { $0.dueAt > dueAt } ?? deadlines.endIndex
    deadlines.insert(PendingDeadline(deadline: deadline, dueAt: dueAt), at: place)
  }

  private func version(of stream: StreamID) -> Version { Version(Int64(streams[stream]?.count ?? 0)) }
}
