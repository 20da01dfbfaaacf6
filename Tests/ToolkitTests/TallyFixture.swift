import CommandProcessing
import EventSourcing
import Foundation
import JSON
import Logging
import PostgresEventStore
import ServiceLifecycle
import TestSupport
import Testing

// A domain with one number per stream, so that lost updates and gaps show in sums.
struct Counted: DomainEvent {
  let amount: Int64

  static func decode(_ name: String, _ data: JSON) throws(EventDecodingError) -> Counted? {
    guard name == "Counted", let amount = data["amount"]?.integer else { return nil }
    return Counted(amount: amount)
  }

  /// Throws for the amount `unwritable`, which no valid event has.
  func encode(into json: inout JSONWriter) throws -> String {
    guard amount != Self.unwritable else { throw Unwritable() }
    json.object { $0.member("amount", amount) }
    return "Counted"
  }

  static let unwritable = Int64.min
  struct Unwritable: Error {}
}

struct Tally: SnapshottingAggregate {
  static let category = "tally"
  static let snapshotPolicy = SnapshotPolicy(every: 50, schemaVersion: 1)
  var sum: Int64 = 0
  init() {}
  mutating func apply(_ event: Counted) { sum += event.amount }
}

extension Rejection {
  static func wouldExceed(limit: Int64) -> Rejection {
    Rejection("would-exceed", title: "Too much", detail: "The limit is \(limit).")
  }
}

/// Adds to every named tally, unless one would exceed the limit.
struct Count: Command {
  var ids: [String]
  var amount: Int64 = 1
  var limit: Int64 = .max

  var streams: [AggregateReference] { ids.map { AggregateReference(Tally.self, $0) } }

  func decide(_ decision: inout Decision) throws(Rejection) {
    for id in ids {
      guard decision.state(Tally.self, id).sum + amount <= limit else { throw .wouldExceed(limit: limit) }
      if amount != 0 { decision.emit(Counted(amount: amount), to: Tally.self, id) }
    }
  }
}

extension CommandRequest {
  /// A client's request, with a new key unless one is given.
  static func fresh(
    _ key: String = UUID.v7().uuidString, body: String = "", expecting versions: Set<Version>? = nil
  ) -> CommandRequest {
    var bytes = [UInt8](repeating: 0, count: 16)
    for (index, byte) in body.utf8.enumerated() { bytes[index % 16] ^= byte &+ UInt8(truncatingIfNeeded: index) }
    let fingerprint = bytes.withUnsafeBytes { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
    return CommandRequest(
      key: IdempotencyKey(scope: "test", key: key), fingerprint: fingerprint,
      metadata: EventMetadata(correlationID: key, causationID: key), condition: versions.map { .oneOf($0) })
  }
}

/// A response with the version, whether anything changed, and the position.
@Sendable func spellOut(_ decided: Decided) -> [UInt8] {
  Array("v\(decided.version) \(decided.hasChanged) @".utf8) + decided.position
}

extension CommandProcessor {
  /// Runs a command with a new key.
  func execute(_ command: some Command) async throws -> Receipt {
    try #require(try await execute(command, .fresh(), response: spellOut).receipt)
  }

  /// - Returns: The text of the response.
  func response(_ command: some Command, _ request: CommandRequest) async throws -> String {
    String(decoding: try await execute(command, request, response: spellOut).response, as: UTF8.self)
  }
}

/// Runs a processor in a service group while `body` lasts.
@discardableResult
func withProcessor<Store: StreamStore, Answer: Sendable>(
  _ store: Store, _ limits: CommandProcessor<Store>.Limits = .init(), logger: Logger = .quiet,
  _ body: (CommandProcessor<Store>) async throws -> Answer
) async throws -> Answer {
  var limits = limits
  // Commands must not time out on a busy machine. Tests of patience set their own.
  if limits.patience == CommandProcessor<Store>.Limits().patience { limits.patience = .seconds(120) }
  let processor = CommandProcessor(store, limits: limits, logger: logger)
  let group = ServiceGroup(services: [processor], logger: .quiet)
  return try await withThrowingTaskGroup(of: Void.self) { tasks in
    tasks.addTask { try await group.run() }
    let result: Result<Answer, any Error>
    do { result = .success(try await body(processor)) } catch { result = .failure(error) }
    await group.triggerGracefulShutdown()
    try await tasks.waitForAll()
    return try result.get()
  }
}

/// A store whose appends fail as a test says.
actor FaultyStore: StreamStore {
  let inner = InMemoryEventStore()
  nonisolated var knownHistoryID: UUID? { inner.knownHistoryID }
  private(set) var batches: [AppendBatch] = []
  private(set) var savedSnapshots = 0
  private var beforeAppend: [@Sendable (InMemoryEventStore) async throws(EventStoreError) -> Void] = []
  private var responses: [(after: Int, result: AppendResult)] = []
  private let refuses: @Sendable (NewEvent) -> Bool

  init(refusing refuses: @escaping @Sendable (NewEvent) -> Bool = { _ in false }) { self.refuses = refuses }

  func before(_ action: @escaping @Sendable (InMemoryEventStore) async throws(EventStoreError) -> Void) {
    beforeAppend.append(action)
  }

  /// Returns `result` for the append after those that `before` covers so far, without asking the store.
  func answerNext(_ result: AppendResult) { responses.append((batches.count + beforeAppend.count, result)) }

  func append(_ batch: AppendBatch) async throws(EventStoreError) -> AppendResult {
    batches.append(batch)
    if let response = responses.first, response.after == batches.count - 1 {
      responses.removeFirst()
      return response.result
    }
    if !beforeAppend.isEmpty { try await beforeAppend.removeFirst()(inner) }
    if batch.events.contains(where: refuses) { throw .refused("poison") }
    return await inner.append(batch)
  }

  func events(in stream: StreamID, after version: Version, limit: Int) async -> [RecordedEvent] {
    await inner.events(in: stream, after: version, limit: limit)
  }
  func appendHoldingLocks(
    refreshing streams: [StreamID: StreamCursor], limit: Int,
    _ decide: @escaping @Sendable ([StreamID: [RecordedEvent]]) -> AppendBatch?
  ) async throws(EventStoreError) -> AppendResult? {
    guard let batch = decide(await inner.events(in: streams, limit: limit)) else { return nil }
    return try await append(batch)
  }
  func events(in streams: [StreamID: StreamCursor], limit: Int) async -> [StreamID: [RecordedEvent]] {
    await inner.events(in: streams, limit: limit)
  }
  func snapshots(of streams: [StreamID: Int]) async -> [StreamID: Snapshot] { await inner.snapshots(of: streams) }
  func save(_ snapshot: Snapshot) async {
    savedSnapshots += 1
    await inner.save(snapshot)
  }
}

/// A store that suspends appends once it is closed, and records which appends run at the same time.
actor GatedStore: StreamStore {
  let inner = InMemoryEventStore()
  nonisolated var knownHistoryID: UUID? { inner.knownHistoryID }
  private let refuses: @Sendable (NewEvent) -> Bool
  private var isClosed = false
  private var waiting: [(ids: [String], continuation: CheckedContinuation<Void, Never>)] = []
  private var underWay: [Set<StreamID>] = []
  /// The ids and data of each append, in the order in which they started.
  private(set) var asked: [[String]] = []
  /// Streams that two batches wrote at the same time.
  private(set) var overlaps: Set<StreamID> = []
  /// The largest number of batches that ran at the same time.
  private(set) var most = 0

  init(refusing refuses: @escaping @Sendable (NewEvent) -> Bool) { self.refuses = refuses }

  /// The ids of the streams of each suspended append.
  var held: [[String]] { waiting.map(\.ids) }
  func close() { isClosed = true }

  /// Resumes the append that writes this stream.
  func letGo(of id: String) {
    guard let index = waiting.firstIndex(where: { $0.ids.contains(id) }) else { return }
    waiting.remove(at: index).continuation.resume()
  }

  func letGoOfAll() {
    isClosed = false
    while let first = waiting.popLast() { first.continuation.resume() }
  }

  func append(_ batch: AppendBatch) async throws(EventStoreError) -> AppendResult {
    let streams = Set(batch.events.map(\.stream))
    asked.append(batch.events.map { "\($0.stream.id) \(String(decoding: $0.data, as: UTF8.self))" })
    for others in underWay { overlaps.formUnion(others.intersection(streams)) }
    underWay.append(streams)
    most = max(most, underWay.count)
    defer { underWay.remove(at: underWay.firstIndex(of: streams)!) }
    if isClosed { await withCheckedContinuation { waiting.append((batch.events.map { String($0.stream.id) }, $0)) } }
    if batch.events.contains(where: refuses) { throw .refused("poison") }
    return await inner.append(batch)
  }

  func appendHoldingLocks(
    refreshing streams: [StreamID: StreamCursor], limit: Int,
    _ decide: @escaping @Sendable ([StreamID: [RecordedEvent]]) -> AppendBatch?
  ) async throws(EventStoreError) -> AppendResult? {
    guard let batch = decide(await inner.events(in: streams, limit: limit)) else { return nil }
    return try await append(batch)
  }
  func events(in stream: StreamID, after version: Version, limit: Int) async -> [RecordedEvent] {
    await inner.events(in: stream, after: version, limit: limit)
  }
  func events(in streams: [StreamID: StreamCursor], limit: Int) async -> [StreamID: [RecordedEvent]] {
    await inner.events(in: streams, limit: limit)
  }
  func snapshots(of streams: [StreamID: Int]) async -> [StreamID: Snapshot] { await inner.snapshots(of: streams) }
  func save(_ snapshot: Snapshot) async { await inner.save(snapshot) }
}

func add(_ id: String, _ amount: Int64, to store: InMemoryEventStore) async {
  let event = try! Counted(amount: amount).new(in: Tally.stream(id), id: .v7(), metadata: [])
  _ = await store.append(AppendBatch(expectedVersions: [:], events: [event]))
}

/// A type-erased store.
struct AnyStore: EventStore {
  private let store: any EventStore
  init(_ store: any EventStore) { self.store = store }
  var knownHistoryID: UUID? { store.knownHistoryID }

  func append(_ batch: AppendBatch) async throws(EventStoreError) -> AppendResult { try await store.append(batch) }
  func events(in stream: StreamID, after version: Version, limit: Int) async throws(EventStoreError) -> [RecordedEvent]
  {
    try await store.events(in: stream, after: version, limit: limit)
  }
  func appendHoldingLocks(
    refreshing streams: [StreamID: StreamCursor], limit: Int,
    _ decide: @escaping @Sendable ([StreamID: [RecordedEvent]]) -> AppendBatch?
  ) async throws(EventStoreError) -> AppendResult? {
    try await store.appendHoldingLocks(refreshing: streams, limit: limit, decide)
  }
  func events(
    in streams: [StreamID: StreamCursor], limit: Int
  ) async throws(EventStoreError) -> [StreamID: [RecordedEvent]] {
    try await store.events(in: streams, limit: limit)
  }
  func snapshots(of streams: [StreamID: Int]) async throws(EventStoreError) -> [StreamID: Snapshot] {
    try await store.snapshots(of: streams)
  }
  func save(_ snapshot: Snapshot) async throws(EventStoreError) { try await store.save(snapshot) }
  func events(after position: Position, limit: Int) async throws(EventStoreError) -> [RecordedEvent] {
    try await store.events(after: position, limit: limit)
  }
  func page(
    of partition: Partition, from position: Position, categories: Set<String>, limit: PageLimit
  ) async throws(EventStoreError) -> PartitionPage {
    try await store.page(of: partition, from: position, categories: categories, limit: limit)
  }
  func head() async throws(EventStoreError) -> Position { try await store.head() }
  func heads(of partitioning: Partitioning) async throws(EventStoreError) -> [PartitionHead] {
    try await store.heads(of: partitioning)
  }
  func historyID() async throws(EventStoreError) -> UUID { try await store.historyID() }
}
