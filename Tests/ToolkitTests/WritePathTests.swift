import CommandProcessing
import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@Suite("Safety of the write store", .tags(.integration), .needsServers)
struct WriteStoreTests {
  @Test("Databases of one server can be migrated at once, although roles belong to the server", .freshDatabase())
  func migratedAtOnce() async throws {
    let owner = try await FreshDatabase.current.connect()
    let names = (0..<6).map { "\(FreshDatabase.current.name)_\($0)" }
    for name in names { try await owner.execute("create database \(name)") }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for name in names {
        group.addTask {
          let connection = try await FreshDatabase(name: name).connect()
          for _ in 0..<8 { _ = try await connection.migrate(eventStoreSchema) }
          await connection.close()
        }
      }
      try await group.waitForAll()
    }
  }

  @Test(
    "Responses are stored with their keys and with the positions of the append", .freshDatabase(eventStoreSchema),
    arguments: StoreKind.allCases)
  func responses(kind: StoreKind) async throws {
    let store = kind.make()
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)]))
    let batch = AppendBatch(
      expectedVersions: [:], events: [event(a), event(a)],
      commands: [
        command("one", events: 1, response: "at \u{1}!", offset: 0),
        command("two", events: 1, response: "at \u{1}, \u{1}", offset: 1),
        command("none", events: 0, response: "nothing"), command("rejected", events: 0, response: nil),
      ])
    guard case .appended(Position(2), _, [:], []) = try await store.append(batch) else {
      return #expect(Bool(false), "not appended")
    }
    // The same batch again changes nothing, and returns the stored responses.
    guard case .notAppended(let conflicts, let repeats) = try await store.append(batch) else {
      return #expect(Bool(false), "appended twice")
    }
    #expect(conflicts.isEmpty)
    #expect(repeats.mapValues { String(decoding: $0.text, as: UTF8.self) } == [0: "at 2!", 1: "at 3, 3", 2: "nothing"])
    #expect(
      repeats.mapValues(\.fingerprint) == [
        0: batch.commands[0].fingerprint, 1: batch.commands[1].fingerprint, 2: batch.commands[2].fingerprint,
      ])
    #expect(try await store.head() == Position(3))
    // Known commands without events do not block the others.
    let mixed = AppendBatch(
      expectedVersions: [:], events: [event(a)],
      commands: [command("none", events: 0, response: "other"), command("three", events: 1, response: "x")])
    guard case .appended(Position(4), _, let known, _) = try await store.append(mixed) else {
      return #expect(Bool(false), "not appended")
    }
    #expect(known.mapValues { String(decoding: $0.text, as: UTF8.self) } == [0: "nothing"])
  }

  @Test(
    "An abandoned append and its resent copy together take effect only once", .freshDatabase(eventStoreSchema))
  func zombie() async throws {
    let database = FreshDatabase.current!
    let store = PostgresEventStore(database.pool(), appendTimeout: .seconds(3))
    let blocker = try await database.connect()
    try await blocker.execute("begin")
    try await blocker.query("select pg_advisory_xact_lock(7310029201180266610)")
    let batch = AppendBatch(
      expectedVersions: [a: .none], events: [event(a)],
      commands: [command("k", events: 1, response: "\u{1}", offset: 0)])
    // The client gives up. The server process waits and will still commit.
    await #expect { _ = try await store.append(batch) } throws: {
      if case .outcomeUnknown = $0 as? EventStoreError { true } else { false }
    }
    let patient = PostgresEventStore(database.pool())
    let resent = Task { try await patient.append(batch) }
    let observer = try await database.connect()
    try await eventually("both wait for the lock") {
      try await observer.query(
        "select count(*) from pg_stat_activity where datname = \(database.name) and wait_event_type = 'Lock'"
      ).value(Int.self) == 2
    }
    try await blocker.execute("rollback")
    guard case .notAppended(_, let repeats) = try await resent.value else {
      return #expect(Bool(false), "appended twice")
    }
    #expect(repeats.mapValues { String(decoding: $0.text, as: UTF8.self) } == [0: "1"])
    #expect(try await patient.head() == Position(1))
  }

  @Test("Partitions are created ahead of time, and streams are read across them", .freshDatabase(eventStoreSchema))
  func partitions() async throws {
    let pool = FreshDatabase.current.pool()
    try await pool.query("update event_store.identity set partition_size = 10")
    try await pool.withConnection { connection in
      try await connection.execute(
        """
        alter table event_store.events detach partition event_store.events_1;
        drop table event_store.events_1;
        delete from event_store.partitions;
        insert into event_store.partitions values (0 + 1, 2);
        create table event_store.events_1 partition of event_store.events for values from (1) to (2);
        """)
    }
    let store = PostgresEventStore(pool)
    let streams = (0..<7).map { StreamID(rawValue: "thing-\($0)") }
    for round in 0..<9 {
      _ = try await store.append(
        AppendBatch(expectedVersions: [streams[0]: Version(Int64(round))], events: streams.map { event($0) }))
    }
    #expect(try await store.events(after: .start, limit: 100).map(\.position.rawValue) == Array(1...63))
    for stream in streams {
      #expect(
        try await store.events(in: stream, after: Version(2), limit: 5).map(\.version.rawValue) == [3, 4, 5, 6, 7])
    }
    let (upper, count) = try #require(
      try await pool.query("select max(upper), count(*) from event_store.partitions").decode((Int64, Int).self).first)
    #expect(upper > 63 + 5 && count >= 7)
    // A partition rejects the same changes as the whole table, on any path to it.
    for sql in [
      "truncate event_store.events_12", "delete from event_store.events_12",
      "update event_store.events_12 set type = 'X'",
    ] {
      await #expect(throws: PostgresError.self) { try await pool.query(Query(sql, [])) }
    }
    await #expect(throws: PostgresError.self) {
      try await pool.query(
        "insert into event_store.events select 69, stream, version, hash, gen_random_uuid(), type, 1, data, metadata, recorded_at from event_store.events where position = 63"
      )
      try await pool.query(
        "insert into event_store.events select 70, stream, version, hash, gen_random_uuid(), type, 1, data, metadata, recorded_at from event_store.events where position = 63"
      )
    }
  }

  @Test("A partition that cannot be created yet blocks no append while there is room", .freshDatabase(eventStoreSchema))
  func partitionLater() async throws {
    let database = FreshDatabase.current!
    let pool = database.pool()
    let store = PostgresEventStore(pool)
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)]))
    // The current partition is now more than half full.
    try await pool.query("update event_store.identity set partition_size = 2 * 10000000")
    let blocker = try await database.connect()
    try await blocker.execute("begin")
    // The lock of a manual vacuum or analyze.
    try await blocker.query("lock table event_store.events in share update exclusive mode")
    for n in 1...5 {
      _ = try await store.append(AppendBatch(expectedVersions: [a: Version(Int64(n))], events: [event(a)]))
    }
    #expect(try await pool.query("select 1 from event_store.partitions").count == 1)
    try await blocker.execute("rollback")
    _ = try await store.append(AppendBatch(expectedVersions: [a: Version(6)], events: [event(a)]))
    #expect(try await pool.query("select 1 from event_store.partitions").count == 2)
  }

  @Test(
    "A batch that was decided on another history is not appended, even after the store is seen again",
    .freshDatabase(eventStoreSchema))
  func otherHistory() async throws {
    let pool = FreshDatabase.current.pool()
    let store = PostgresEventStore(pool)
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)]))
    var late = AppendBatch(expectedVersions: [a: Version(1)], events: [event(a)])
    late.historyID = store.knownHistoryID
    try await pool.query("update event_store.identity set history_id = gen_random_uuid()")
    var other = late
    other.historyID = store.knownHistoryID
    #expect(try await store.append(other) == .restored())
    #expect(store.knownHistoryID != late.historyID)
    #expect(try await store.append(late) == .restored())
    #expect(try await store.head() == Position(1))
  }

  @Test(
    "A stream is read by its index in the partitions that hold it, with any statistics",
    .freshDatabase(eventStoreSchema), arguments: [false, true])
  func streamReads(isAnalyzed: Bool) async throws {
    let pool = FreshDatabase.current.pool()
    try await pool.query("alter table event_store.events_1 set (autovacuum_enabled = false)")
    let store = PostgresEventStore(pool)
    let streams = (0..<4).map { StreamID(rawValue: "thing-\($0)") }
    for _ in 0..<10 {
      let events = (0..<1000).map { event(streams[$0 % 4]) }
      _ = try await store.append(AppendBatch(expectedVersions: [:], events: events))
    }
    if isAnalyzed { try await pool.query("analyze event_store.events") }
    // Two further partitions exist, and neither is scanned.
    try await pool.query("update event_store.identity set partition_size = 10")
    for _ in 0..<2 { try await pool.query("select event_store.add_partition()") }
    let reader = try await FreshDatabase.current!.connect()
    let (read, touched) = try await reader.transaction { connection in
      let read = try connection.query(
        "select position from event_store.stream_events(array['thing-1', 'none-1'], array[2490::bigint, 0], array[0::bigint, 0], 7)"
      ).decode(Int64.self)
      let touched = try connection.query(
        """
        select c.relname, pg_stat_get_xact_numscans(c.oid), pg_stat_get_xact_tuples_returned(c.oid)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'event_store' and c.relname like 'events_%' and pg_stat_get_xact_numscans(c.oid) > 0
        order by 1
        """
      ).decode((String, Int64, Int64).self)
      return (read, touched)
    }
    let expected: [Int64] = (2490..<2497).map { $0 * 4 + 2 }
    #expect(read == expected)
    let names = touched.map(\.0)
    #expect(names == ["events_1_stream_version_key"], "\(touched)")
    #expect(touched.last?.2 == 7, "\(touched)")
  }

  @Test(
    "Partition pages and heads are read by their index, with any statistics",
    .freshDatabase(eventStoreSchema), arguments: [false, true])
  func partitionReads(isAnalyzed: Bool) async throws {
    let pool = FreshDatabase.current.pool()
    try await pool.query("alter table event_store.events_1 set (autovacuum_enabled = false)")
    let store = PostgresEventStore(pool)
    // One partition is written all the time, the other was written once long ago.
    let quiet = try #require(
      (1...).lazy.map { StreamID(rawValue: "thing-\($0)") }.first { $0.hash >> 10 != a.hash >> 10 })
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(quiet)]))
    for _ in 0..<10 {
      _ = try await store.append(AppendBatch(expectedVersions: [:], events: (0..<1000).map { _ in event(a) }))
    }
    if isAnalyzed { try await pool.query("analyze event_store.events") }
    let heads = try await store.heads(of: .standard)
    #expect(heads.filter { $0.position > .start }.map(\.position).sorted() == [Position(1), Position(10_001)])
    let reader = try await FreshDatabase.current!.connect()
    let (read, touched) = try await reader.transaction { connection in
      _ = try connection.query("select * from event_store.bucket_heads()")
      let bucket = Int32(quiet.hash >> 10)
      let read = try connection.query(
        "select position from event_store.bucket_page(\(bucket), \(bucket), 1, '{thing}', 100, 1000) where position > 0"
      ).decode(Int64.self)
      let touched = try connection.query(
        """
        select pg_stat_get_xact_tuples_returned(c.oid) from pg_class c where c.relname in ('events_1', 'events_1_pkey')
        """
      ).decode(Int64.self)
      return (read, touched)
    }
    #expect(read == [1])
    #expect(touched == [0, 0])
  }
}

// Test events and commands.
extension WriteStoreTests {
  var a: StreamID { StreamID(rawValue: "thing-a") }

  func event(_ stream: StreamID) -> NewEvent {
    NewEvent(
      stream: stream, id: .v7(), type: "Happened", schemaVersion: 1, data: Array("{}".utf8), metadata: Array("{}".utf8))
  }

  func command(_ key: String, events: Int, response: String?, offset: Int? = nil) -> AppendBatch.Command {
    AppendBatch.Command(
      key: IdempotencyKey(scope: "s", key: key),
      fingerprint: UUID(uuidString: "00000000-0000-0000-0000-00000000000\(events)")!,
      eventCount: events, response: response.map { ResponseTemplate(Array($0.utf8), offset: offset) })
  }
}
