public import FoundationEssentials
internal import Machine

/// An event store in memory, without durability: for experiments, and for tests of code that uses a store.
public actor InMemoryEventStore: EventStore {
  private var table: EventTable
  private let id: UUID
  public nonisolated var knownHistoryID: UUID? { id }
  private let clock: @Sendable () -> Timestamp

  /// Creates an empty store with a new history id.
  /// - Parameter clock: Gives the time of each append.
  public init(clock: @escaping @Sendable () -> Timestamp = { .now }) {
    id = Machine.uuid()
    table = EventTable(historyID: id)
    self.clock = clock
  }

  /// A scheduled command that waits.
  public struct PendingDeadline: Sendable, Hashable {
    /// The command, and when it is due.
    public let deadline: Deadline
    /// The time at which it is due.
    public let dueAt: Timestamp
  }

  /// What was scheduled, and has not been carried out; the oldest first.
  public var deadlines: [PendingDeadline] {
    table.deadlines.values.sorted { ($0.dueAt, $0.order) < ($1.dueAt, $1.order) }
      .map { PendingDeadline(deadline: $0.deadline, dueAt: $0.dueAt) }
  }

  public func append(_ batch: AppendBatch) -> AppendResult {
    switch table.append(batch, known: .init(historyID: batch.historyID ?? id), at: clock()) {
    case .done(let result): result
    case .otherHistory: .restored()
    }
  }

  public func appendHoldingLocks(
    refreshing streams: [StreamID: StreamCursor], limit: Int,
    _ decide: @escaping @Sendable ([StreamID: [RecordedEvent]]) -> AppendBatch?
  ) -> AppendResult? {
    decide(events(in: streams, limit: limit)).map { append($0) }
  }

  public func events(in stream: StreamID, after version: Version, limit: Int) -> [RecordedEvent] {
    table.events(in: stream, after: version, limit: limit)
  }

  public func events(in streams: [StreamID: StreamCursor], limit: Int) -> [StreamID: [RecordedEvent]] {
    table.events(in: streams, limit: limit)
  }

  public func snapshots(of streams: [StreamID: Int]) -> [StreamID: Snapshot] { table.snapshots(of: streams) }
  public func save(_ snapshot: Snapshot) { table.save(snapshot) }

  public func events(after position: Position, limit: Int) -> [RecordedEvent] {
    table.events(after: position, limit: limit)
  }

  public func page(
    of partition: Partition, from position: Position, categories: Set<String>, limit: PageLimit
  ) -> PartitionPage {
    table.page(of: partition, from: position, categories: categories, limit: limit)
  }

  public func head() -> Position { table.head }
  public func heads(of partitioning: Partitioning) -> [PartitionHead] { table.heads(of: partitioning) }
  public func historyID() -> UUID { id }

  /// Removes a scheduled command, as an append does with the one that it carries out.
  public func removeDeadline(_ id: UUID) { table.removeDeadline(id) }
}
