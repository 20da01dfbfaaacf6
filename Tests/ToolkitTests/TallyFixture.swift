import CommandProcessing
import EventSourcing
import Foundation
import JSON
import PostgresEventStore
import ServiceLifecycle
import TestSupport
import Testing

// A domain of one number a stream, so that lost updates and gaps show in sums.
struct Counted: DomainEvent {
  let amount: Int64
  var type: String { "Counted" }
  var schemaVersion: Int { 1 }

  init(amount: Int64) { self.amount = amount }

  init(type: String, schemaVersion: Int, data: JSON) throws(EventDecodingError) {
    guard type == "Counted", let amount = data["amount"]?.integer else {
      throw .unknownType(type, schemaVersion: schemaVersion)
    }
    self.amount = amount
  }

  func encode(into json: inout JSONWriter) { json.object { $0.member("amount", amount) } }
}

struct Tally: Aggregate {
  static let category = "tally"
  var sum: Int64 = 0
  init() {}
  mutating func apply(_ event: Counted) { sum += event.amount }
}

enum TallyRejection: Error, Hashable { case wouldExceed(limit: Int64) }

/// Adds to every named tally, unless one would exceed the limit.
struct Count: Command {
  var ids: [String]
  var amount: Int64 = 1
  var limit: Int64 = .max

  var streams: [AggregateReference] { ids.map { AggregateReference(Tally.self, $0) } }

  func decide(_ decision: inout Decision) throws(TallyRejection) {
    for id in ids {
      guard decision.state(Tally.self, id).sum + amount <= limit else { throw .wouldExceed(limit: limit) }
      if amount != 0 { decision.emit(Counted(amount: amount), to: Tally.self, id) }
    }
  }
}

let metadata = EventMetadata(correlationID: "test")

/// Runs a processor in a service group while `body` lasts.
@discardableResult
func withProcessor<Store: EventStore, Answer: Sendable>(
  _ store: Store, _ limits: CommandProcessor<Store>.Limits = .init(),
  _ body: (CommandProcessor<Store>) async throws -> Answer
) async throws -> Answer {
  let processor = CommandProcessor(store, limits: limits, logger: .quiet)
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

/// A store that does to appends what a test says.
actor FaultyStore: EventStore {
  let inner = InMemoryEventStore()
  private(set) var batches: [AppendBatch] = []
  private var beforeAppend: [@Sendable (InMemoryEventStore) async throws(EventStoreError) -> Void] = []
  private let refuses: @Sendable (NewEvent) -> Bool

  init(refusing refuses: @escaping @Sendable (NewEvent) -> Bool = { _ in false }) { self.refuses = refuses }

  func before(_ action: @escaping @Sendable (InMemoryEventStore) async throws(EventStoreError) -> Void) {
    beforeAppend.append(action)
  }

  func append(_ batch: AppendBatch) async throws(EventStoreError) -> AppendResult {
    batches.append(batch)
    if !beforeAppend.isEmpty { try await beforeAppend.removeFirst()(inner) }
    if batch.events.contains(where: refuses) { throw .refused("poison") }
    return await inner.append(batch)
  }

  func events(in stream: StreamID, after version: Version, limit: Int) async -> [RecordedEvent] {
    await inner.events(in: stream, after: version, limit: limit)
  }
  func events(in streams: [StreamID]) async -> [StreamID: [RecordedEvent]] { await inner.events(in: streams) }
  func events(after position: Position, limit: Int) async -> [RecordedEvent] {
    await inner.events(after: position, limit: limit)
  }
  func events(in partition: Partition, from position: Position, limit: Int) async -> [RecordedEvent] {
    await inner.events(in: partition, from: position, limit: limit)
  }
  func head() async -> Position { await inner.head() }
  func heads(of partitioning: Partitioning) async -> [PartitionHead] { await inner.heads(of: partitioning) }
  func incarnation() async -> UUID { await inner.incarnation() }
}

func add(_ id: String, _ amount: Int64, to store: InMemoryEventStore) async {
  let event = Counted(amount: amount).new(in: Tally.stream(id), id: .v7(), metadata: [])
  _ = await store.append(AppendBatch(guards: [:], events: [event]))
}

/// A store of either kind, as a type of its own.
struct AnyStore: EventStore {
  private let store: any EventStore
  init(_ store: any EventStore) { self.store = store }

  func append(_ batch: AppendBatch) async throws(EventStoreError) -> AppendResult { try await store.append(batch) }
  func events(in stream: StreamID, after version: Version, limit: Int) async throws(EventStoreError) -> [RecordedEvent]
  {
    try await store.events(in: stream, after: version, limit: limit)
  }
  func events(in streams: [StreamID]) async throws(EventStoreError) -> [StreamID: [RecordedEvent]] {
    try await store.events(in: streams)
  }
  func events(after position: Position, limit: Int) async throws(EventStoreError) -> [RecordedEvent] {
    try await store.events(after: position, limit: limit)
  }
  func events(in partition: Partition, from position: Position, limit: Int) async throws(EventStoreError)
    -> [RecordedEvent]
  {
    try await store.events(in: partition, from: position, limit: limit)
  }
  func head() async throws(EventStoreError) -> Position { try await store.head() }
  func heads(of partitioning: Partitioning) async throws(EventStoreError) -> [PartitionHead] {
    try await store.heads(of: partitioning)
  }
  func incarnation() async throws(EventStoreError) -> UUID { try await store.incarnation() }
}
