public import FoundationEssentials

/// An event store without durability: for tests of what is built on stores, and for trying things out.
public actor InMemoryEventStore: EventStore {
  private var all: [RecordedEvent] = []
  private var streams: [StreamID: [RecordedEvent]] = [:]
  private let id = UUID()
  private let clock: @Sendable () -> Timestamp

  public init(clock: @escaping @Sendable () -> Timestamp = { .now }) { self.clock = clock }

  public func append(_ batch: AppendBatch) -> AppendResult {
    let actual = batch.guards.mapKeysAndValues { stream, _ in version(of: stream) }
    let conflicts = actual.filter { batch.guards[$0.key] != $0.value }
    guard conflicts.isEmpty else { return .conflict(actual: conflicts) }
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
    return .appended(first: first, recordedAt: recordedAt)
  }

  public func events(in stream: StreamID, after version: Version, limit: Int) -> [RecordedEvent] {
    Array(streams[stream, default: []].dropFirst(Int(version.rawValue)).prefix(limit))
  }

  public func events(in streams: [StreamID]) -> [StreamID: [RecordedEvent]] {
    self.streams.filter { streams.contains($0.key) }
  }

  public func events(after position: Position, limit: Int) -> [RecordedEvent] {
    Array(all.dropFirst(Int(position.rawValue)).prefix(limit))
  }

  public func events(in partition: Partition, from position: Position, limit: Int) -> [RecordedEvent] {
    Array(all.lazy.filter { $0.position >= position && partition.contains($0.stream) }.prefix(limit))
  }

  public func head() -> Position { Position(Int64(all.count)) }

  public func heads(of partitioning: Partitioning) -> [PartitionHead] {
    partitioning.partitions.map { partition in
      let last = all.last { partition.contains($0.stream) }
      return PartitionHead(partition: partition, position: last?.position ?? .start, eventID: last?.id)
    }
  }

  public func incarnation() -> UUID { id }

  private func version(of stream: StreamID) -> Version { Version(Int64(streams[stream]?.count ?? 0)) }
}

extension Dictionary {
  fileprivate func mapKeysAndValues<Other>(_ transform: (Key, Value) -> Other) -> [Key: Other] {
    Dictionary<Key, Other>(uniqueKeysWithValues: map { ($0.key, transform($0.key, $0.value)) })
  }
}
