import CommandProcessing
import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

// Contention locks, rights, histories and retention.
extension WriteStoreTests {
  @Test("A contention lock blocks its own streams and no others", .freshDatabase(eventStoreSchema))
  func contentionLocks() async throws {
    let database = FreshDatabase.current!
    let store = PostgresEventStore(database.pool())
    let other = try #require(
      (1...).lazy.map { StreamID(rawValue: "thing-\($0)") }.first { $0.hash != a.hash })
    let streams = [a, other]
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: streams.map(event)))
    let holder = try await database.connect()
    try await holder.execute("begin")
    try await holder.query("select pg_advisory_xact_lock(731002920, \(PostgresEventStore.contentionLock(of: a)))")
    let expectedVersions = [a: Version(1), other: Version(1)]
    guard
      case .appended(_, _, _, let contended) = try await store.append(
        AppendBatch(expectedVersions: expectedVersions, events: streams.map(event)))
    else { return #expect(Bool(false), "not appended") }
    #expect(contended == [a])
    // With the lock held, the other stream is written at once. The locked stream waits until its time is over.
    let isHeld = try await store.appendHoldingLocks(refreshing: [other: StreamCursor(version: Version(1))], limit: 10) {
      AppendBatch(expectedVersions: [other: Version(2)], events: $0[other]?.count == 1 ? [event(other)] : [])
    }
    guard case .appended(Position(5), _, _, []) = isHeld else {
      return #expect(Bool(false), "\(String(describing: isHeld))")
    }
    let waiter = try await database.connect()
    #expect(
      try await !waiter.query(
        "select event_store.take_contention_locks(array[\(PostgresEventStore.contentionLock(of: a))])"
      ).value(
        Bool.self))
    try await holder.execute("rollback")
    #expect(
      try await waiter.query(
        "select event_store.take_contention_locks(array[\(PostgresEventStore.contentionLock(of: a))])"
      ).value(Bool.self)
    )
  }

  @Test("The lock of a busy stream marks none of 10,000 others as contended", .freshDatabase(eventStoreSchema))
  func unrelatedStreams() async throws {
    let database = FreshDatabase.current!
    let store = PostgresEventStore(database.pool())
    let streams = (0..<10_000).map { StreamID(rawValue: "product-\($0)") }
    let hot = streams[4_711]
    func write() async throws -> Set<StreamID> {
      var contended: Set<StreamID> = []
      for start in stride(from: 0, to: streams.count, by: 1_000) {
        let result = try await store.append(
          AppendBatch(expectedVersions: [:], events: streams[start..<start + 1_000].map(event)))
        guard case .appended(_, _, _, let held) = result else { throw NeverHappened(description: "\(result)") }
        contended.formUnion(held)
      }
      return contended
    }
    #expect(try await write() == [])
    let holder = try await database.connect()
    // The function limits how long its holder may idle, and a busy machine exceeds that.
    try await holder.execute(
      """
      begin;
      select event_store.take_contention_locks(array[\(PostgresEventStore.contentionLock(of: hot))]);
      set local idle_in_transaction_session_timeout = 0
      """)
    #expect(try await write() == [hot])
    try await holder.execute("rollback")
  }

  @Test("A role can do what its service needs, and no more", .freshDatabase(eventStoreSchema))
  func privileges() async throws {
    let database = FreshDatabase.current!
    _ = try await PostgresEventStore(database.pool()).append(AppendBatch(expectedVersions: [:], events: [event(a)]))
    let connection = try await database.connect()
    let refused: [(String, String)] = [
      (
        "command",
        "insert into event_store.events select 9, stream, 9, hash, id, type, 1, data, metadata, recorded_at from event_store.events"
      ),
      ("command", "update event_store.events set type = 'X'"), ("command", "delete from event_store.events"),
      ("command", "truncate event_store.events"), ("command", "update event_store.streams set version = 9"),
      ("command", "delete from event_store.idempotency_keys"),
      ("command", "update event_store.identity set history_id = gen_random_uuid()"),
      ("command", "select event_store.add_partition()"),
      ("command", "alter table event_store.events disable trigger all"),
      (
        "relay",
        "select event_store.append(null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null)"
      ),
      ("relay", "select response from event_store.idempotency_keys"), ("projector", "delete from event_store.leases"),
      ("projector", "insert into event_store.snapshots values ('x-1',1,1,1,gen_random_uuid(),'{}')"),
      ("query", "delete from event_store.events"),
      ("query", "select event_store.recognise_server(null, 0, null, false)"),
      ("query", "select event_store.take_contention_locks(array[1])"),
      ("query", "select * from event_store.effect_attempts"), ("reactor", "delete from event_store.effect_attempts"),
      ("reactor", "insert into event_store.effect_attempts values ('k', 1, 'e', 'x-1', 1, now())"),
      ("reactor", "update event_store.effect_attempts set attempt = 1"),
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
      ("command", "select event_store.recognise_server(null, 0, null, false)"),
      ("relay", "delete from event_store.leases"), ("projector", "select data from event_store.events"),
    ] {
      try await connection.execute("set role counterflow_\(role)")
      _ = try await connection.query(Query(sql, []))
      try await connection.execute("reset role")
    }
  }

  @Test(
    "A store that lost events is detected, and appends fail until it is declared restored",
    .freshDatabase(eventStoreSchema))
  func restoredToEarlier() async throws {
    let database = FreshDatabase.current!
    let store = PostgresEventStore(database.pool())
    try await withProcessor(store) { processor in
      _ = try await processor.execute(Count(ids: ["a"]))
      _ = try await processor.execute(Count(ids: ["a"]))
      // The same state as after a restore of yesterday's back-up.
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
      let before = try await store.historyID()
      _ = try await PostgresEventStore.declareRestored(losingNothing: false, owner)
      #expect(try await store.historyID() != before)
      let receipt = try await processor.execute(Count(ids: ["a"]))
      #expect(receipt.streams[Tally.stream("a")] == .init(version: Version(2), position: Position(2)))
    }
  }

  @Test("A store that lost an event which was only read is detected too", .freshDatabase(eventStoreSchema))
  func restoredToEarlierThanRead() async throws {
    let database = FreshDatabase.current!
    let (store, other) = (PostgresEventStore(database.pool()), PostgresEventStore(database.pool()))
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)]))
    _ = try await other.append(AppendBatch(expectedVersions: [:], events: [event(a)]))
    #expect(try await store.events(in: a, after: Version(1), limit: 10).count == 1)
    try await database.connect().execute(
      """
      alter table event_store.events disable trigger all; alter table event_store.events_1 disable trigger all;
      delete from event_store.events where position > 1; update event_store.streams set version = 1, last_position = 1;
      alter table event_store.events enable trigger all; alter table event_store.events_1 enable trigger all;
      """)
    await #expect { _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)])) } throws: {
      if case .historyChanged = $0 as? EventStoreError { true } else { false }
    }
  }

  @Test("A store on another server than declared is rejected", .freshDatabase(eventStoreSchema))
  func movedToAnotherServer() async throws {
    let database = FreshDatabase.current!
    let owner = try await database.connect()
    // A dump that was loaded into another cluster contains the old system identifier.
    try await owner.query("update event_store.identity set system_identifier = system_identifier - 1")
    let pool = PostgresPool(database.configuration, logger: .quiet, onConnect: ServerWitness(logger: .quiet).check)
    let store = PostgresEventStore(pool)
    await #expect { _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)])) } throws: {
      if case .historyChanged = $0 as? EventStoreError { true } else { false }
    }
    let historyID = try await PostgresEventStore(database.pool()).historyID()
    #expect(try await PostgresEventStore.declareRestored(losingNothing: true, owner).historyID == historyID)
    guard case .appended = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)])) else {
      return #expect(Bool(false), "not appended")
    }
  }

  @Test("An append fails on a server that would not keep it", .freshDatabase(eventStoreSchema))
  func durability() async throws {
    let database = FreshDatabase.current!
    let owner = try await database.connect()
    try await owner.execute("alter database \(database.name) set synchronous_commit = off")
    let store = PostgresEventStore(database.pool())
    await #expect { _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)])) } throws: {
      if case .unavailable(let reason) = $0 as? EventStoreError { reason.contains("synchronous_commit") } else { false }
    }
    #expect(try await store.head() == .start)
  }

  @Test("Keys are deleted after their retention, and not before", .freshDatabase(eventStoreSchema))
  func retention() async throws {
    let pool = FreshDatabase.current.pool()
    let store = PostgresEventStore(pool)
    _ = try await store.append(
      AppendBatch(
        expectedVersions: [:], events: [],
        commands: [command("old", events: 0, response: "x"), command("new", events: 0, response: "y")]))
    try await pool.query(
      "update event_store.idempotency_keys set recorded_at = recorded_at - interval '2 days' where key = 'old'")
    #expect(try await store.forgetKeys(olderThan: .seconds(3 * 86_400)) == 0)
    #expect(try await store.forgetKeys(olderThan: .seconds(86_400)) == 1)
    #expect(try await pool.query("select key from event_store.idempotency_keys").value(String.self) == "new")
  }

  @Test(
    "Generated keys have their own retention, and clients' keys stay",
    .freshDatabase(eventStoreSchema))
  func generatedKeys() async throws {
    let pool = FreshDatabase.current.pool()
    let store = PostgresEventStore(pool)
    let commands = ["client", "young", "old"].map { key in
      AppendBatch.Command(
        key: IdempotencyKey(scope: "", key: key), isKeyGenerated: key != "client", fingerprint: UUID(), eventCount: 0,
        response: ResponseTemplate(Array("x".utf8)))
    }
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: [], commands: commands))
    try await pool.query(
      "update event_store.idempotency_keys set recorded_at = recorded_at - interval '2 days' where key <> 'young'")
    #expect(try await store.forgetKeys(olderThan: .seconds(3 * 86_400), generated: true) == 0)
    #expect(try await store.forgetKeys(olderThan: .seconds(86_400), generated: true) == 1)
    let left = try await pool.query("select key from event_store.idempotency_keys order by key").decode(String.self)
    #expect(left == ["client", "young"])
    // No generated key younger than a day is deleted, even if the caller asks for it.
    #expect(try await store.forgetKeys(olderThan: .zero, generated: true) == 0)
  }
}
