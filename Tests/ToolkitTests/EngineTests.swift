import EventRelay
import EventSourcing
import Foundation
import Logging
import Postgres
import PostgresEventStore
import RabbitMQ
import ServiceLifecycle
import TestSupport
import Testing

@testable import Projections

@Suite("Relay and projector", .tags(.integration), .needsServers)
struct EngineTests {
  @Test(
    "events come through the feed alone, each once and in order", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func feed() async throws {
    let engine = Engine()
    // Heads are looked at once, at the start: what comes later comes by the feed, or not at all.
    let projector = engine.projector(headInterval: .seconds(3600))
    try await withServices([engine.relay(), projector]) {
      try await eventually("the feed is connected") { (try? projector.checkFeed()) != nil }
      var rounds = 0
      try await engine.expectFlow(&rounds)
      for _ in 0..<10 { try await engine.append(100) }
      try await engine.expectComplete(of: rounds + 50)
    }
  }

  @Test(
    "what was stored before anybody listened is caught up", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func catchUp() async throws {
    let engine = Engine()
    for _ in 0..<10 { try await engine.append(200) }
    try await withServices([engine.projector()]) { try await engine.expectComplete(of: 100) }
    // And a restart goes on where it stood, whatever the size of its batches.
    try await engine.append(200)
    try await withServices([engine.projector(batchSize: 1)]) { try await engine.expectComplete(of: 110) }
  }

  @Test(
    "without a relay, and with the broker's connections cut, the store heals everything", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func healing() async throws {
    let engine = Engine()
    let host = FreshVirtualHost.current!
    try await withServices([engine.projector()]) {
      try await engine.append(100)
      try await engine.expectComplete(of: 5)
      try await withServices([engine.relay()]) {
        for _ in 0..<10 {
          try await engine.append(100)
          try await host.closeConnections()
        }
        try await engine.expectComplete(of: 55)
      }
      try await engine.append(100)
      try await engine.expectComplete(of: 60)
    }
  }

  @Test(
    "a feed whose exchange was deleted flows again", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func deletedExchange() async throws {
    let engine = Engine()
    let host = FreshVirtualHost.current!
    let projector = engine.projector(headInterval: .seconds(3600))
    try await withServices([engine.relay(), projector]) {
      try await eventually("the feed is connected") { (try? projector.checkFeed()) != nil }
      var rounds = 0
      try await engine.expectFlow(&rounds)
      try await host.connect().delete(exchange: LiveFeed.exchange.name)
      try await engine.expectFlow(&rounds)
    }
  }

  @Test(
    "an event that is refused stops its partition alone, loudly, and goes on once it is mended", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func poison() async throws {
    let engine = Engine()
    try await engine.pool.query("alter table counting add constraint refuse check (key <> 'thing-7' or count < 3)")
    try await withServices([engine.relay(), engine.projector()]) {
      for _ in 0..<5 { try await engine.append(20) }
      let poisoned = Partitioning.standard.partition(of: StreamID(rawValue: "thing-7"))
      let others = (0..<20).filter { !poisoned.contains(StreamID(rawValue: "thing-\($0)")) }.map { "thing-\($0)" }
      try await eventually("all others are complete") {
        try await engine.pool.query("select 1 from counting where count = 5 and key = any(\(array: others))").count
          == others.count
      }
      try await eventually("the partition says why it stopped") {
        let rows = try await engine.pool.query(
          "select partition, error from projections.checkpoints where halted_at is not null"
        )
        .decode((Int, String).self)
        return rows.count == 1 && rows[0].0 == poisoned.index && rows[0].1.contains("refuse")
      }
      #expect(try await engine.pool.query("select count from counting where key = 'thing-7'").value(Int.self) == 2)
      try await engine.pool.query("alter table counting drop constraint refuse")
      try await engine.expectComplete(of: 5)
      #expect(try await engine.pool.query("select 1 from projections.checkpoints where halted_at is not null").isEmpty)
    }
  }

  @Test(
    "a second projector stands by and takes over", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func takeover() async throws {
    let engine = Engine()
    let group = ServiceGroup(services: [engine.projector()], logger: .quiet)
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask { try await group.run() }
      try await engine.append(100)
      try await engine.expectComplete(of: 5)
      let owner = try await engine.pool.query("select distinct owner from projections.checkpoints").value(UUID.self)
      try await withServices([engine.projector()]) {
        try await engine.append(100)
        try await engine.expectComplete(of: 10)
        #expect(
          try await engine.pool.query("select distinct owner from projections.checkpoints").value(UUID.self) == owner)
        await group.triggerGracefulShutdown()
        try await engine.append(100)
        try await engine.expectComplete(of: 15)
        let owners = try await engine.pool.query("select distinct owner from projections.checkpoints").decode(UUID.self)
        #expect(owners.count == 1 && owners[0] != owner)
      }
      try await tasks.waitForAll()
    }
  }

  @Test(
    "an owner that has lost its pairs changes nothing", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func fencing() async throws {
    let engine = Engine()
    let pool = engine.pool
    let (old, new) = (
      CheckpointStore(projection: "counting", owner: UUID()), CheckpointStore(projection: "counting", owner: UUID())
    )
    let incarnation = try await engine.store.incarnation()
    let pair = try await old.claim(.standard, incarnation: incarnation, on: pool)[0]
    _ = try await new.claim(.standard, incarnation: incarnation, on: pool)
    let advance = CheckpointStore.Advance(
      partition: pair.partition, from: pair.checkpoint, to: Checkpoint(position: Position(1), eventID: UUID()))
    await #expect(throws: FencedError.self) {
      try await pool.transaction { connection in
        try connection.query("insert into counting values ('x', '{}', 1)")
        try old.advance([advance], on: connection)
      }
    }
    #expect(try await pool.query("select 1 from counting").isEmpty)
    try await pool.transaction { try new.advance([advance], on: $0) }
    // The same step twice: the checkpoint is not where it was.
    await #expect(throws: FencedError.self) { try await pool.transaction { try new.advance([advance], on: $0) } }
  }

  @Test(
    "a runner whose process is not active any more claims nothing", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func inactive() async throws {
    let engine = Engine()
    let successor = CheckpointStore(projection: "counting", owner: UUID())
    _ = try await successor.claim(.standard, incarnation: try await engine.store.incarnation(), on: engine.pool)
    let runner = ProjectionRunner(
      AnyProjection(CountingProjection()), owner: UUID(), readStore: engine.pool, store: engine.store,
      mailbox: Mailbox(limit: 1_000),
      settings: .init(
        partitioning: .standard, batchSize: 10, headInterval: .seconds(1), haltRetry: .seconds(1)),
      isActive: { false }, logger: .quiet)
    let running = Task { try await runner.run() }
    // Should it claim, it would run on for ever.
    let watchdog = Task {
      try await Task.sleep(for: .seconds(5))
      running.cancel()
    }
    await #expect(throws: FencedError.self) { try await running.value }
    watchdog.cancel()
    let owners = try await engine.pool.query("select distinct owner from projections.checkpoints").decode(UUID.self)
    #expect(owners == [successor.owner])
  }

  @Test(
    "a store with another history is recognised, and nothing is written", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func fork() async throws {
    let engine = Engine()
    try await withServices([engine.projector()]) {
      try await engine.append(100)
      try await engine.expectComplete(of: 5)
    }
    try await engine.pool.query("update event_store.identity set incarnation = gen_random_uuid()")
    try await engine.append(100)
    let projector = engine.projector()
    try await withServices([projector]) {
      try await eventually("the feed is connected") { (try? projector.checkFeed()) != nil }
      try await Task.sleep(for: .milliseconds(500))
      #expect(try await engine.pool.query("select sum(count)::bigint from counting").value(Int.self) == 100)
    }
  }

  @Test(
    "rows are deleted, and events that concern no row only move the checkpoint", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func deletion() async throws {
    let engine = Engine()
    try await withServices([engine.projector()]) {
      try await engine.append(20)
      try await engine.append(20, type: "Ignored")
      try await engine.append(10, type: "Ended")
      try await eventually("ten are left") {
        let rows = try await engine.pool.query("select 1 from counting").count
        let position = try await engine.pool.query("select coalesce(max(position), 0) from projections.checkpoints")
          .value(Int.self)
        return rows == 10 && position == 50
      }
    }
  }

  @Test(
    "checkpoints made with another number of partitions are refused", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func otherPartitioning() async throws {
    let engine = Engine()
    let checkpoints = CheckpointStore(projection: "counting", owner: UUID())
    _ = try await checkpoints.claim(Partitioning(count: 8)!, incarnation: UUID(), on: engine.pool)
    await #expect(throws: PartitioningError.self) { try await engine.projector().run() }
    #expect(try await engine.pool.query("select count(*) from projections.checkpoints").value(Int.self) == 8)
  }
}
