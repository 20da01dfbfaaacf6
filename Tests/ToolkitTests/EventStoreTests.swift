import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

/// The stores that must behave alike.
enum StoreKind: String, CaseIterable, CustomTestStringConvertible {
  case memory, postgres

  var testDescription: String { rawValue }

  func make() -> any EventStore {
    switch self {
    case .memory: InMemoryEventStore()
    case .postgres: PostgresEventStore(FreshDatabase.current.pool(.init(size: 8, acquireTimeout: .seconds(60))))
    }
  }
}

private func event(_ stream: StreamID, _ data: String = "{}") -> NewEvent {
  NewEvent(
    stream: stream, id: .v7(), type: "Happened", schemaVersion: 1, data: Array(data.utf8),
    metadata: Array("{\"m\":1}".utf8))
}

private let a = StreamID(rawValue: "thing-a")
private let b = StreamID(rawValue: "thing-b")

@Suite("Event stores, in memory and PostgreSQL alike", .tags(.integration), .needsServers)
struct EventStoreTests {
  @Test("an event is read back as it was appended", .freshDatabase(eventStoreSchema), arguments: StoreKind.allCases)
  func roundTrip(kind: StoreKind) async throws {
    let store = kind.make()
    let new = event(a, #"{"text":"ünï 🎁 \n","n":-9223372036854775808,"same":1, "order": [ 2 ]}"#)
    guard
      case .appended(let first, let recordedAt, _, _) = try await store.append(
        AppendBatch(guards: [a: .none], events: [new]))
    else { return #expect(Bool(false), "not appended") }
    #expect(first == Position(1))
    let read = try #require(try await store.events(in: a, after: .none, limit: 10).first)
    #expect(
      read
        == RecordedEvent(
          position: Position(1), stream: a, version: Version(1), hash: a.hash, id: new.id, type: "Happened",
          schemaVersion: 1, data: new.data, metadata: new.metadata, recordedAt: recordedAt))
  }

  @Test(
    "positions and versions are dense over batches of several streams", .freshDatabase(eventStoreSchema),
    arguments: StoreKind.allCases)
  func density(kind: StoreKind) async throws {
    let store = kind.make()
    _ = try await store.append(AppendBatch(guards: [:], events: [event(a), event(b), event(a)]))
    let result = try await store.append(
      AppendBatch(guards: [a: Version(2), b: Version(1)], events: [event(b), event(a), event(b)]))
    guard case .appended(let first, _, _, _) = result else { return #expect(Bool(false), "\(result)") }
    #expect(first == Position(4))
    let all = try await store.events(after: .start, limit: 100)
    #expect(all.map(\.position.rawValue) == [1, 2, 3, 4, 5, 6])
    #expect(all.map(\.stream) == [a, b, a, b, a, b])
    #expect(all.map(\.version.rawValue) == [1, 1, 2, 2, 3, 3])
    #expect(zip(all, all.dropFirst()).allSatisfy { $0.recordedAt <= $1.recordedAt })
    #expect(try await store.head() == Position(6))
  }

  @Test(
    "a guard that does not hold stops the whole batch and tells the version", .freshDatabase(eventStoreSchema),
    arguments: StoreKind.allCases)
  func conflicts(kind: StoreKind) async throws {
    let store = kind.make()
    _ = try await store.append(AppendBatch(guards: [:], events: [event(a)]))
    let c = StreamID(rawValue: "thing-c")
    for (guards, actual) in [
      ([a: Version.none], [a: Version(1)]), ([a: Version(2)], [a: Version(1)]), ([b: Version(1)], [b: Version.none]),
      ([a: Version(7), b: Version(7), c: Version.none], [a: Version(1), b: Version.none]),
    ] {
      #expect(
        try await store.append(AppendBatch(guards: guards, events: [event(a), event(c)]))
          == .notAppended(conflicts: actual))
    }
    #expect(try await store.head() == Position(1))
    #expect(try await store.events(in: c, after: .none, limit: 10).isEmpty)
  }

  @Test(
    "guards are checked without events too, and nothing is taken", .freshDatabase(eventStoreSchema),
    arguments: StoreKind.allCases)
  func guardsAlone(kind: StoreKind) async throws {
    let store = kind.make()
    _ = try await store.append(AppendBatch(guards: [:], events: [event(a)]))
    #expect(
      try await store.append(AppendBatch(guards: [a: .none], events: [])) == .notAppended(conflicts: [a: Version(1)]))
    guard case .appended(let next, _, _, _) = try await store.append(AppendBatch(guards: [a: Version(1)], events: []))
    else { return #expect(Bool(false), "not confirmed") }
    #expect(next == Position(2))
    #expect(try await store.head() == Position(1))
  }

  @Test("reads begin after a place and end at a limit", .freshDatabase(eventStoreSchema), arguments: StoreKind.allCases)
  func reads(kind: StoreKind) async throws {
    let store = kind.make()
    let streams = (0..<40).map { StreamID(rawValue: "thing-\($0)") }
    for round in 0..<5 {
      _ = try await store.append(AppendBatch(guards: [:], events: streams.map { event($0, "{\"round\":\(round)}") }))
    }
    #expect(try await store.events(in: streams[3], after: Version(2), limit: 2).map(\.version.rawValue) == [3, 4])
    #expect(try await store.events(in: streams[3], after: Version(5), limit: 2).isEmpty)
    #expect(try await store.events(after: Position(198), limit: 10).map(\.position.rawValue) == [199, 200])
    let several = try await store.events(
      in: [
        streams[1]: StreamCursor(version: .none), streams[2]: StreamCursor(version: Version(2), position: Position(43)),
        StreamID(rawValue: "thing-missing"): StreamCursor(version: .none),
      ], limit: 4)
    #expect(
      several.mapValues { $0.map(\.version.rawValue) } == [streams[1]: [1, 2, 3, 4], streams[2]: [3, 4, 5]])
    for count in Partitioning.allowed {
      let partitioning = try #require(Partitioning(count: count))
      let heads = try await store.heads(of: partitioning)
      var positions: [Int64] = []
      for partition in partitioning.partitions {
        let whole = try await store.page(
          of: partition, from: Position(1), categories: ["thing"], limit: PageLimit(events: 1000))
        let events = whole.events
        #expect(whole.isLast)
        #expect(events.allSatisfy { partition.contains($0.stream) })
        #expect(zip(events, events.dropFirst()).allSatisfy { $0.position < $1.position })
        #expect(heads[partition.index].position == events.last?.position ?? .start)
        #expect(heads[partition.index].eventID == events.last?.id)
        if events.count > 2 {
          let some = try await store.page(
            of: partition, from: events[1].position, categories: ["thing"], limit: PageLimit(events: 2))
          #expect(some == PartitionPage(events: Array(events[1...2]), isLast: false))
        }
        positions += events.map(\.position.rawValue)
      }
      #expect(positions.sorted() == Array(1...200))
    }
  }

  @Test(
    "a page has the categories that are wanted, and its ends", .freshDatabase(eventStoreSchema),
    arguments: StoreKind.allCases)
  func pages(kind: StoreKind) async throws {
    let store = kind.make()
    let partition = try #require(Partitioning(count: 1)).partitions[0]
    let empty = try await store.page(of: partition, from: Position(1), categories: [], limit: PageLimit(events: 9))
    #expect(empty == PartitionPage(events: [], isLast: true))
    // Categories a b a b …, each event of 100 bytes and a little.
    let data = "\"\(String(repeating: "x", count: 98))\""
    for n in 1...12 {
      let stream = StreamID(rawValue: "\(n.isMultiple(of: 2) ? "b" : "a")-\(n)")
      _ = try await store.append(AppendBatch(guards: [:], events: [event(stream, data)]))
    }
    func page(_ from: Int64, _ categories: Set<String>, _ events: Int, bytes: Int = 1_000_000) async throws -> [Int64] {
      let page = try await store.page(
        of: partition, from: Position(from), categories: categories, limit: PageLimit(events: events, bytes: bytes))
      return page.events.map(\.position.rawValue) + (page.isLast ? [0] : [])
    }
    #expect(try await page(1, ["a", "b"], 4) == [1, 2, 3, 4])
    #expect(try await page(3, ["a"], 4) == [3, 5, 6])
    #expect(try await page(4, ["a"], 4) == [4, 5, 7])
    #expect(try await page(4, ["c"], 5) == [4, 8])
    #expect(try await page(10, ["a"], 4) == [10, 11, 12, 0])
    #expect(try await page(10, ["a"], 3) == [10, 11, 12])
    #expect(try await page(12, ["a"], 1) == [12])
    #expect(try await page(13, ["a"], 1) == [0])
    #expect(try await page(1, ["a", "b"], 12, bytes: 1) == [1, 2])
    #expect(try await page(1, ["a"], 12, bytes: 150) == [1, 3, 5])
  }

  @Test(
    "many appenders at once: no gap, no lost update, and readers never see one", .freshDatabase(eventStoreSchema),
    arguments: StoreKind.allCases)
  func concurrency(kind: StoreKind) async throws {
    let store = kind.make()
    let streams = (0..<4).map { StreamID(rawValue: "hot-\($0)") }
    try await withThrowingTaskGroup(of: Int.self) { group in
      for worker in 0..<6 {
        group.addTask {
          var appended = 0
          while appended < 25 {
            let stream = streams[(worker + appended) % 4]
            let version = Version(Int64(try await store.events(in: stream, after: .none, limit: 10_000).count))
            let result = try await store.append(
              AppendBatch(guards: [stream: version], events: [event(stream), event(stream)]))
            if case .appended = result { appended += 1 }
          }
          return 0
        }
      }
      group.addTask {
        // What a reader has seen never changes below it: positions come densely.
        var seen: Int64 = 0
        while seen < 300 {
          for event in try await store.events(after: Position(seen), limit: 1000) {
            seen += 1
            #expect(event.position.rawValue == seen)
          }
        }
        return 0
      }
      try await group.waitForAll()
    }
    for stream in streams {
      let versions = try await store.events(in: stream, after: .none, limit: 10_000).map(\.version.rawValue)
      #expect(versions == Array(1...Int64(versions.count)))
    }
    #expect(try await store.head() == Position(300))
  }
}

@Suite("Event store on PostgreSQL", .tags(.integration), .needsServers)
struct PostgresEventStoreTests {
  @Test("events cannot be changed or removed, not even by the owner", .freshDatabase(eventStoreSchema))
  func immutability() async throws {
    let pool = FreshDatabase.current.pool()
    _ = try await PostgresEventStore(pool).append(AppendBatch(guards: [:], events: [event(a)]))
    for sql in [
      "update event_store.events set type = 'X'", "delete from event_store.events", "truncate event_store.events",
    ] {
      await #expect(throws: PostgresError.self) { try await pool.query(Query(sql, [])) }
    }
    #expect(try await pool.query("select count(*) from event_store.events").value(Int.self) == 1)
  }

  @Test("an append notifies with its last position", .freshDatabase(eventStoreSchema))
  func notification() async throws {
    let listener = try await FreshDatabase.current.connect()
    var notifications = try await listener.notifications(on: [PostgresEventStore.channel]).makeAsyncIterator()
    _ = try await PostgresEventStore(FreshDatabase.current.pool()).append(
      AppendBatch(guards: [:], events: [event(a), event(b)]))
    #expect(await notifications.next()?.payload == "2")
  }

  @Test("a value that PostgreSQL does not take is refused, and takes no position", .freshDatabase(eventStoreSchema))
  func refusal() async throws {
    let store = PostgresEventStore(FreshDatabase.current.pool())
    await #expect {
      _ = try await store.append(AppendBatch(guards: [:], events: [event(a, "not json")]))
    } throws: { if case .refused = $0 as? EventStoreError { true } else { false } }
    // Larger than what the feeds can send.
    let large = event(a, "\"\(String(repeating: "x", count: PostgresEventStore.maximumEventSize))\"")
    await #expect { _ = try await store.append(AppendBatch(guards: [:], events: [event(a), large])) } throws: {
      if case .refused(let reason) = $0 as? EventStoreError { reason.contains("8388608") } else { false }
    }
    guard case .appended(let first, _, _, _) = try await store.append(AppendBatch(guards: [:], events: [event(a)]))
    else { return #expect(Bool(false), "not appended") }
    #expect(first == Position(1))
  }

  @Test(
    "an append whose connection is lost has an unknown outcome, and a store that is away has not",
    .freshDatabase(eventStoreSchema))
  func loss() async throws {
    let database = FreshDatabase.current!
    let store = PostgresEventStore(database.pool())
    let blocker = try await database.connect()
    // Holds the appenders' lock, so that an append waits.
    try await blocker.execute("begin")
    try await blocker.query("select pg_advisory_xact_lock(7310029201180266610)")
    let append = Task { try await store.append(AppendBatch(guards: [:], events: [event(a)])) }
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
    // Of a read nothing is unknown but what is there.
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
    await #expect { _ = try await PostgresEventStore(nowhere).append(AppendBatch(guards: [:], events: [])) } throws: {
      if case .unavailable = $0 as? EventStoreError { true } else { false }
    }
  }
}
