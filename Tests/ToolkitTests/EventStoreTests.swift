import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import CounterflowTesting
@testable import Simulation

/// The event stores, which must behave alike.
enum StoreKind: String, CaseIterable, CustomTestStringConvertible {
  case memory, postgres, simulated

  var testDescription: String { rawValue }

  func make() -> any EventStore {
    switch self {
    case .memory: InMemoryEventStore()
    case .simulated:
      SimulatedEventStore.alone()
    case .postgres: PostgresEventStore(FreshDatabase.current.pool(.init(size: 8, acquireTimeout: .seconds(60))))
    }
  }
}

private let a = StreamID(rawValue: "thing-a")
private let b = StreamID(rawValue: "thing-b")

@Suite("Event stores: in memory, on PostgreSQL and simulated", .tags(.integration), .needsServers)
struct EventStoreTests {
  @Test(
    "Every store passes each conformance check", .freshDatabase(eventStoreSchema), arguments: StoreKind.allCases,
    EventStoreCheck.all)
  func conformance(kind: StoreKind, check: EventStoreCheck) async throws { try await check(kind.make()) }
}

@Suite("Event store on PostgreSQL", .tags(.integration), .needsServers)
struct PostgresEventStoreTests {
  @Test("Not even the owner can change or remove events", .freshDatabase(eventStoreSchema))
  func immutability() async throws {
    let pool = FreshDatabase.current.pool()
    _ = try await PostgresEventStore(pool).append(AppendBatch(expectedVersions: [:], events: [event(a)]))
    for sql in [
      "update event_store.events set type = 'X'", "delete from event_store.events", "truncate event_store.events",
    ] {
      await #expect(throws: PostgresError.self) { try await pool.query(Query(sql, [])) }
    }
    #expect(try await pool.query("select count(*) from event_store.events").value(Int.self) == 1)
  }

  @Test("An append notifies with its last position", .freshDatabase(eventStoreSchema))
  func notification() async throws {
    let listener = try await FreshDatabase.current.connect()
    var notifications = try await listener.notifications(on: [PostgresEventStore.channel]).makeAsyncIterator()
    _ = try await PostgresEventStore(FreshDatabase.current.pool()).append(
      AppendBatch(expectedVersions: [:], events: [event(a), event(b)]))
    #expect(await notifications.next()?.payload == "2")
  }

  @Test("An event that PostgreSQL refuses fails the append and takes no position", .freshDatabase(eventStoreSchema))
  func refusal() async throws {
    let store = PostgresEventStore(FreshDatabase.current.pool())
    await #expect {
      _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a, "not json")]))
    } throws: { if case .refused = $0 as? EventStoreError { true } else { false } }
    // Larger than the feeds can send.
    let large = event(a, "\"\(String(repeating: "x", count: PostgresEventStore.maximumEventSize))\"")
    await #expect {
      _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a), large]))
    } throws: {
      if case .refused(let reason) = $0 as? EventStoreError { reason.contains("8388608") } else { false }
    }
    guard
      case .appended(let first, _, _, _) = try await store.append(
        AppendBatch(expectedVersions: [:], events: [event(a)]))
    else { return #expect(Bool(false), "not appended") }
    #expect(first == Position(1))
  }

  @Test(
    "An append has an unknown outcome if its connection is lost, but not if the store is unreachable",
    .freshDatabase(eventStoreSchema))
  func loss() async throws {
    let database = FreshDatabase.current!
    let store = PostgresEventStore(database.pool())
    let blocker = try await database.connect()
    // Holds the appenders' lock, so that an append waits.
    try await blocker.execute("begin")
    try await blocker.query("select pg_advisory_xact_lock(7310029201180266610)")
    let append = Task { try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)])) }
    let waiting: Query = """
      select pid from pg_stat_activity where datname = \(database.name) and wait_event_type = 'Lock'
      """
    let observer = try await database.connect()
    try await eventually("the append waits") { try await observer.query(waiting).count == 1 }
    let pid = try await observer.query(waiting).value(Int32.self)
    try await observer.query("select pg_terminate_backend(\(pid))")
    await #expect { _ = try await append.value } throws: {
      if case .outcomeUnknown = $0 as? EventStoreError { true } else { false }
    }
    // A lost read has no unknown outcome: the store is only unavailable.
    try await blocker.execute("rollback; begin; lock table event_store.events in access exclusive mode")
    let read = Task { try await store.events(after: .start, limit: 1) }
    try await eventually("the read waits") { try await observer.query(waiting).count == 1 }
    let reader = try await observer.query(waiting).value(Int32.self)
    try await observer.query("select pg_terminate_backend(\(reader))")
    await #expect { _ = try await read.value } throws: {
      if case .unavailable = $0 as? EventStoreError { true } else { false }
    }
    let nowhere = PostgresPool(
      PostgresConfiguration(url: "postgres://a:b@127.0.0.1:1/c"),
      limits: .init(size: 1, acquireTimeout: .milliseconds(100)),
      logger: .quiet)
    await #expect {
      _ = try await PostgresEventStore(nowhere).append(AppendBatch(expectedVersions: [:], events: []))
    } throws: {
      if case .unavailable = $0 as? EventStoreError { true } else { false }
    }
  }
}
