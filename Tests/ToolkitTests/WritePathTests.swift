import CommandProcessing
import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

private let a = StreamID(rawValue: "thing-a")

private func event(_ stream: StreamID) -> NewEvent {
  NewEvent(
    stream: stream, id: .v7(), type: "Happened", schemaVersion: 1, data: Array("{}".utf8), metadata: Array("{}".utf8))
}

private func command(_ key: String, events: Int, answer: String?, offset: Int? = nil) -> AppendBatch.Command {
  AppendBatch.Command(
    key: IdempotencyKey(scope: "s", key: key),
    fingerprint: UUID(uuidString: "00000000-0000-0000-0000-00000000000\(events)")!,
    eventCount: events, answer: answer.map { CommandAnswer(Array($0.utf8), offset: offset) })
}

@Suite("The write store guards itself", .tags(.integration), .needsServers)
struct WriteStoreTests {
  @Test("databases of one server are migrated at once, though rights are the server's", .freshDatabase())
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
    "answers are kept with their keys, with the positions that the append gave", .freshDatabase(eventStoreSchema),
    arguments: StoreKind.allCases)
  func answers(kind: StoreKind) async throws {
    let store = kind.make()
    _ = try await store.append(AppendBatch(guards: [:], events: [event(a)]))
    let batch = AppendBatch(
      guards: [:], events: [event(a), event(a)],
      commands: [
        command("one", events: 1, answer: "at \u{1}!", offset: 0),
        command("two", events: 1, answer: "at \u{1}, \u{1}", offset: 1),
        command("none", events: 0, answer: "nothing"), command("rejected", events: 0, answer: nil),
      ])
    guard case .appended(Position(2), _, [:], []) = try await store.append(batch) else {
      return #expect(Bool(false), "not appended")
    }
    // The identical batch again changes nothing, and tells what was answered.
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
    // Known commands without events do not hold the others up.
    let mixed = AppendBatch(
      guards: [:], events: [event(a)],
      commands: [command("none", events: 0, answer: "other"), command("three", events: 1, answer: "x")])
    guard case .appended(Position(4), _, let known, _) = try await store.append(mixed) else {
      return #expect(Bool(false), "not appended")
    }
    #expect(known.mapValues { String(decoding: $0.text, as: UTF8.self) } == [0: "nothing"])
  }

  @Test(
    "a zombie that commits behind the one who sent the batch again changes nothing", .freshDatabase(eventStoreSchema))
  func zombie() async throws {
    let database = FreshDatabase.current!
    let store = PostgresEventStore(database.pool(), appendTimeout: .milliseconds(300))
    let blocker = try await database.connect()
    try await blocker.execute("begin")
    try await blocker.query("select pg_advisory_xact_lock(7310029201180266610)")
    let batch = AppendBatch(
      guards: [a: .none], events: [event(a)], commands: [command("k", events: 1, answer: "\u{1}", offset: 0)])
    // Its client gives up; the server's process waits on, and will commit.
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

  @Test("partitions are made ahead of time, and streams are read across them", .freshDatabase(eventStoreSchema))
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
        AppendBatch(guards: [streams[0]: Version(Int64(round))], events: streams.map { event($0) }))
    }
    #expect(try await store.events(after: .start, limit: 100).map(\.position.rawValue) == Array(1...63))
    for stream in streams {
      #expect(
        try await store.events(in: stream, after: Version(2), limit: 5).map(\.version.rawValue) == [3, 4, 5, 6, 7])
    }
    let (upper, count) = try #require(
      try await pool.query("select max(upper), count(*) from event_store.partitions").decode((Int64, Int).self).first)
    #expect(upper > 63 + 5 && count >= 7)
    // A partition refuses what the whole refuses, by any way to it.
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

  @Test("while there is room, a partition that cannot be made yet holds up nobody", .freshDatabase(eventStoreSchema))
  func partitionLater() async throws {
    let database = FreshDatabase.current!
    let pool = database.pool()
    let store = PostgresEventStore(pool)
    _ = try await store.append(AppendBatch(guards: [:], events: [event(a)]))
    // More than half full from here on.
    try await pool.query("update event_store.identity set partition_size = 2 * 10000000")
    let blocker = try await database.connect()
    try await blocker.execute("begin")
    // As a vacuum or analyze by hand.
    try await blocker.query("lock table event_store.events in share update exclusive mode")
    for n in 1...5 {
      _ = try await store.append(AppendBatch(guards: [a: Version(Int64(n))], events: [event(a)]))
    }
    #expect(try await pool.query("select 1 from event_store.partitions").count == 1)
    try await blocker.execute("rollback")
    _ = try await store.append(AppendBatch(guards: [a: Version(6)], events: [event(a)]))
    #expect(try await pool.query("select 1 from event_store.partitions").count == 2)
  }

  @Test(
    "a batch that was decided on another history is not appended, though the store has been seen since",
    .freshDatabase(eventStoreSchema))
  func otherHistory() async throws {
    let pool = FreshDatabase.current.pool()
    let store = PostgresEventStore(pool)
    _ = try await store.append(AppendBatch(guards: [:], events: [event(a)]))
    var late = AppendBatch(guards: [a: Version(1)], events: [event(a)])
    late.incarnation = store.knownIncarnation
    try await pool.query("update event_store.identity set incarnation = gen_random_uuid()")
    var other = late
    other.incarnation = store.knownIncarnation
    #expect(try await store.append(other) == .restored())
    #expect(store.knownIncarnation != late.incarnation)
    #expect(try await store.append(late) == .restored())
    #expect(try await store.head() == Position(1))
  }

  @Test(
    "a stream is read by its own index, in the partitions that hold what is wanted, whatever statistics say",
    .freshDatabase(eventStoreSchema), arguments: [false, true])
  func streamReads(isAnalyzed: Bool) async throws {
    let pool = FreshDatabase.current.pool()
    try await pool.query("alter table event_store.events_1 set (autovacuum_enabled = false)")
    let store = PostgresEventStore(pool)
    let streams = (0..<4).map { StreamID(rawValue: "thing-\($0)") }
    for _ in 0..<10 {
      let events = (0..<1000).map { event(streams[$0 % 4]) }
      _ = try await store.append(AppendBatch(guards: [:], events: events))
    }
    if isAnalyzed { try await pool.query("analyze event_store.events") }
    // Partitions of their own before and behind: neither is looked into.
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
    #expect(names == ["events_stream_version_key"], "\(touched)")
    #expect(touched.last?.2 == 7, "\(touched)")
  }

  @Test(
    "partitions are read, and their ends found, by their own index, whatever statistics say",
    .freshDatabase(eventStoreSchema), arguments: [false, true])
  func partitionReads(isAnalyzed: Bool) async throws {
    let pool = FreshDatabase.current.pool()
    try await pool.query("alter table event_store.events_1 set (autovacuum_enabled = false)")
    let store = PostgresEventStore(pool)
    // One that is written to all the time, and one long ago.
    let quiet = try #require(
      (1...).lazy.map { StreamID(rawValue: "thing-\($0)") }.first { $0.hash >> 10 != a.hash >> 10 })
    _ = try await store.append(AppendBatch(guards: [:], events: [event(quiet)]))
    for _ in 0..<10 {
      _ = try await store.append(AppendBatch(guards: [:], events: (0..<1000).map { _ in event(a) }))
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
    #expect(touched.allSatisfy { $0 == 0 }, "\(touched)")
  }

  @Test("a turn is one for some streams, and holds up no others", .freshDatabase(eventStoreSchema))
  func turns() async throws {
    let database = FreshDatabase.current!
    let store = PostgresEventStore(database.pool())
    let other = try #require(
      (1...).lazy.map { StreamID(rawValue: "thing-\($0)") }.first { $0.hash % 64 != a.hash % 64 })
    let streams = [a, other]
    _ = try await store.append(AppendBatch(guards: [:], events: streams.map(event)))
    let holder = try await database.connect()
    try await holder.execute("begin")
    try await holder.query("select pg_advisory_xact_lock(731002920, \(Int32(a.hash % 64)))")
    let guards = [a: Version(1), other: Version(1)]
    guard
      case .appended(_, _, _, let contended) = try await store.append(
        AppendBatch(guards: guards, events: streams.map(event)))
    else { return #expect(Bool(false), "not appended") }
    #expect(contended == [a])
    // In turn: at once for the other; for this one not before its time is over.
    let isHeld = try await store.appendInTurn(refreshing: [other: StreamCursor(version: Version(1))], limit: 10) {
      AppendBatch(guards: [other: Version(2)], events: $0[other]?.count == 1 ? [event(other)] : [])
    }
    guard case .appended(Position(5), _, _, []) = isHeld else {
      return #expect(Bool(false), "\(String(describing: isHeld))")
    }
    let waiter = try await database.connect()
    #expect(try await !waiter.query("select event_store.take_turns(array[\(Int32(a.hash % 64))])").value(Bool.self))
    try await holder.execute("rollback")
    #expect(try await waiter.query("select event_store.take_turns(array[\(Int32(a.hash % 64))])").value(Bool.self))
  }

  @Test("what a store held before there were partitions is kept, and goes on", .freshDatabase())
  func migration() async throws {
    let database = FreshDatabase.current!
    let connection = try await database.connect()
    let first = Schema(name: eventStoreSchema.name, migrations: [eventStoreSchema.migrations[0]])
    _ = try await connection.migrate(first)
    for (index, stream) in ["thing-a", "thing-b", "thing-a"].enumerated() {
      try await connection.query(
        """
        select event_store.append(array[]::text[], array[]::bigint[], array[\(stream)], array[1], array[gen_random_uuid()],
          array['Happened'], array[1], array[\("{\"n\":\(index)}")], array['{}'])
        """)
    }
    _ = try await connection.migrate(eventStoreSchema)
    let store = PostgresEventStore(database.pool())
    let result = try await store.append(AppendBatch(guards: [a: Version(2)], events: [event(a)]))
    guard case .appended(Position(4), _, _, _) = result else { return #expect(Bool(false), "\(result)") }
    #expect(try await store.events(in: a, after: .none, limit: 9).map(\.position.rawValue) == [1, 3, 4])
  }

  @Test("a role can do what its service needs, and no more", .freshDatabase(eventStoreSchema))
  func privileges() async throws {
    let database = FreshDatabase.current!
    _ = try await PostgresEventStore(database.pool()).append(AppendBatch(guards: [:], events: [event(a)]))
    let connection = try await database.connect()
    let refused: [(String, String)] = [
      (
        "command",
        "insert into event_store.events select 9, stream, 9, hash, id, type, 1, data, metadata, recorded_at from event_store.events"
      ),
      ("command", "update event_store.events set type = 'X'"), ("command", "delete from event_store.events"),
      ("command", "truncate event_store.events"), ("command", "update event_store.streams set version = 9"),
      ("command", "delete from event_store.idempotency_keys"),
      ("command", "update event_store.identity set incarnation = gen_random_uuid()"),
      ("command", "select event_store.add_partition()"),
      ("command", "alter table event_store.events disable trigger all"),
      (
        "relay",
        "select event_store.append(null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null)"
      ),
      ("relay", "select answer from event_store.idempotency_keys"), ("projector", "delete from event_store.leases"),
      ("projector", "insert into event_store.snapshots values ('x-1',1,1,1,gen_random_uuid(),'{}')"),
      ("query", "delete from event_store.events"), ("query", "select event_store.take_turns(array[1])"),
    ]
    for (role, sql) in refused {
      try await connection.execute("set role counterflow_\(role)")
      await #expect("\(role): \(sql)") { try await connection.query(Query(sql, [])) } throws: {
        ($0 as? PostgresError)?.sqlState == .insufficientPrivilege
      }
      try await connection.execute("reset role")
    }
    for (role, sql) in [
      ("command", "select count(*) from event_store.events"),
      ("command", "select * from event_store.server_identity()"),
      ("relay", "delete from event_store.leases"), ("projector", "select data from event_store.events"),
    ] {
      try await connection.execute("set role counterflow_\(role)")
      _ = try await connection.query(Query(sql, []))
      try await connection.execute("reset role")
    }
  }

  @Test(
    "a store that lost events is noticed, and nothing is appended until it is declared restored",
    .freshDatabase(eventStoreSchema))
  func restoredToEarlier() async throws {
    let database = FreshDatabase.current!
    let store = PostgresEventStore(database.pool())
    try await withProcessor(store) { processor in
      _ = try await processor.execute(Count(ids: ["a"]))
      _ = try await processor.execute(Count(ids: ["a"]))
      // As a restore from yesterday's back-up would.
      let owner = try await database.connect()
      try await owner.execute(
        """
        alter table event_store.events disable trigger all; alter table event_store.events_1 disable trigger all;
        delete from event_store.events where position > 1; update event_store.streams set version = 1, last_position = 1;
        alter table event_store.events enable trigger all; alter table event_store.events_1 enable trigger all;
        """)
      await #expect { _ = try await processor.execute(Count(ids: ["b"])) } throws: {
        if case .historyChanged = $0 as? CommandError { true } else { false }
      }
      #expect(try await store.head() == Position(1))
      let before = try await store.incarnation()
      _ = try await PostgresEventStore.declareRestored(losingNothing: false, owner)
      #expect(try await store.incarnation() != before)
      let receipt = try await processor.execute(Count(ids: ["a"]))
      #expect(receipt.streams[Tally.stream("a")] == .init(version: Version(2), position: Position(2)))
    }
  }

  @Test("an event that was only read, and is gone, is noticed too", .freshDatabase(eventStoreSchema))
  func restoredToEarlierThanRead() async throws {
    let database = FreshDatabase.current!
    let (store, other) = (PostgresEventStore(database.pool()), PostgresEventStore(database.pool()))
    _ = try await store.append(AppendBatch(guards: [:], events: [event(a)]))
    _ = try await other.append(AppendBatch(guards: [:], events: [event(a)]))
    #expect(try await store.events(in: a, after: Version(1), limit: 10).count == 1)
    try await database.connect().execute(
      """
      alter table event_store.events disable trigger all; alter table event_store.events_1 disable trigger all;
      delete from event_store.events where position > 1; update event_store.streams set version = 1, last_position = 1;
      alter table event_store.events enable trigger all; alter table event_store.events_1 enable trigger all;
      """)
    await #expect { _ = try await store.append(AppendBatch(guards: [:], events: [event(a)])) } throws: {
      if case .historyChanged = $0 as? EventStoreError { true } else { false }
    }
  }

  @Test("a server that is another than the store was declared on is refused", .freshDatabase(eventStoreSchema))
  func movedToAnotherServer() async throws {
    let database = FreshDatabase.current!
    let owner = try await database.connect()
    // A dump that was read into another cluster holds the old one's identifier.
    try await owner.query("update event_store.identity set system_identifier = system_identifier - 1")
    let pool = PostgresPool(database.configuration, logger: .quiet, onConnect: PostgresEventStore.checkServer)
    let store = PostgresEventStore(pool)
    await #expect { _ = try await store.append(AppendBatch(guards: [:], events: [event(a)])) } throws: {
      if case .historyChanged = $0 as? EventStoreError { true } else { false }
    }
    let incarnation = try await PostgresEventStore(database.pool()).incarnation()
    #expect(try await PostgresEventStore.declareRestored(losingNothing: true, owner).incarnation == incarnation)
    guard case .appended = try await store.append(AppendBatch(guards: [:], events: [event(a)])) else {
      return #expect(Bool(false), "not appended")
    }
  }

  @Test("an append is refused on a server that would not keep it", .freshDatabase(eventStoreSchema))
  func durability() async throws {
    let database = FreshDatabase.current!
    let owner = try await database.connect()
    try await owner.execute("alter database \(database.name) set synchronous_commit = off")
    let store = PostgresEventStore(database.pool())
    await #expect { _ = try await store.append(AppendBatch(guards: [:], events: [event(a)])) } throws: {
      if case .unavailable(let reason) = $0 as? EventStoreError { reason.contains("synchronous_commit") } else { false }
    }
    #expect(try await store.head() == .start)
  }

  @Test("keys are forgotten after their retention, and not before", .freshDatabase(eventStoreSchema))
  func retention() async throws {
    let pool = FreshDatabase.current.pool()
    let store = PostgresEventStore(pool)
    _ = try await store.append(
      AppendBatch(
        guards: [:], events: [],
        commands: [command("old", events: 0, answer: "x"), command("new", events: 0, answer: "y")]))
    try await pool.query(
      "update event_store.idempotency_keys set recorded_at = recorded_at - interval '2 days' where key = 'old'")
    #expect(try await store.forgetKeys(olderThan: .seconds(3 * 86_400)) == 0)
    #expect(try await store.forgetKeys(olderThan: .seconds(86_400)) == 1)
    #expect(try await pool.query("select key from event_store.idempotency_keys").value(String.self) == "new")
  }
}
