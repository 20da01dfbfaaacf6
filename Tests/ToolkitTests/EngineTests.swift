import EventSourcing
import Foundation
import Logging
import Postgres
import PostgresEventStore
import RabbitMQ
import RabbitMQFeed
import ServiceLifecycle
import TestSupport
import Testing

@testable import Projections

@Suite("Relay and projector", .tags(.integration), .needsServers)
struct EngineTests {
  @Test(
    "Events arrive through the feed alone, each once and in order", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func feedAlone(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    // The heads are read once, at the start. Later events come through the feed or not at all.
    let projector = engine.projector(headInterval: .seconds(3600))
    try await withServices(engine.feeding(projector)) {
      try await engine.expectFeed(of: projector)
      var rounds = 0
      try await engine.expectFlow(&rounds)
      for _ in 0..<10 { try await engine.append(100) }
      try await engine.expectComplete(of: rounds + 50)
    }
  }

  @Test(
    "A projector catches up with events stored before it started", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func catchUp(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    for _ in 0..<10 { try await engine.append(200) }
    try await withServices([engine.projector()]) { try await engine.expectComplete(of: 100) }
    // After a restart it continues from its checkpoint, with any batch size.
    try await engine.append(200)
    try await withServices([engine.projector(batchSize: 1)]) { try await engine.expectComplete(of: 110) }
    // And with any memory limit.
    try await engine.append(200)
    try await withServices([engine.projector(memory: 1)]) { try await engine.expectComplete(of: 120) }
  }

  @Test(
    "A row belongs to one stream, and another stream that claims it is parked", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables), arguments: Feed.allCases, [1, 100])
  func sharedRow(feed: Feed, others: Int) async throws {
    let engine = Engine(feed: feed)
    // The batch has one new row or many.
    try await engine.append(others, streams: others)
    for stream in ["thing-p", "thing-q"] {
      _ = try await engine.store.append(
        AppendBatch(
          expectedVersions: [:],
          events: [
            NewEvent(
              stream: StreamID(rawValue: stream), id: .v7(), type: "Shared", schemaVersion: 1,
              data: Array("{}".utf8), metadata: Array("{}".utf8))
          ]))
    }
    let one = try #require(Partitioning(count: 1))
    try await withServices([engine.projector(partitioning: one)]) {
      try await eventually("one of them is parked") {
        try await engine.pool.query("select stream from projections.parked").decode(String.self) == ["thing-q"]
      }
      try await eventually("the others have their rows") {
        try await engine.pool.query("select count(*) from read_models.counting").value(Int.self) == others + 1
      }
    }
  }

  @Test(
    "Without a relay, and with broken connections to the broker, projectors read all events from the store",
    .freshVirtualHost,
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
    "A projector misses nothing if its queue is purged or deleted or its consumer cancelled",
    .freshVirtualHost, .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: ["purge", "delete", "cancel"])
  func attackedQueue(attack: String) async throws {
    let engine = Engine()
    // The heads are not read. The next event through the queue reveals the gap.
    let projector = engine.projector(headInterval: .seconds(3600))
    try await withServices([engine.relay(), projector]) {
      try await engine.expectFeed(of: projector)
      var rounds = 0
      try await engine.expectFlow(&rounds)
      async let attacked = FreshVirtualHost.current.attackQueue(attack)
      // Appends before, during and after the attack.
      for _ in 0..<50 {
        try await engine.append(20)
        rounds += 1
        try await Task.sleep(for: .milliseconds(50))
      }
      #expect(try await attacked.isEmpty == false)
      try await engine.expectFlow(&rounds)
      try await engine.expectComplete(of: rounds)
    }
  }

  @Test(
    "The feed continues after its exchange was deleted", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func deletedExchange() async throws {
    let engine = Engine()
    let host = FreshVirtualHost.current!
    let projector = engine.projector(headInterval: .seconds(3600))
    try await withServices([engine.relay(), projector]) {
      try await engine.expectFeed(of: projector)
      var rounds = 0
      try await engine.expectFlow(&rounds)
      try await host.connect().delete(exchange: LiveFeed.exchange.name)
      try await engine.expectFlow(&rounds)
    }
  }

  @Test(
    "A refused event parks only its stream, and a retry applies its events in order", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func poison(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    try await engine.pool.query(
      "alter table read_models.counting_shape add constraint refuse check (key <> 'thing-7' or count < 3)")
    try await withServices(engine.feeding(engine.projector())) {
      for _ in 0..<5 { try await engine.append(20) }
      let others = (0..<20).filter { $0 != 7 }.map { "thing-\($0)" }
      try await eventually("all others are complete") {
        try await engine.pool.query(
          "select 1 from read_models.counting where count = 5 and key = any(\(array: others))"
        ).count
          == others.count
      }
      try await eventually("it is parked") {
        try await engine.pool.query("select 1 from projections.parked").count == 1
      }
      let parked = try await engine.pool.query("select stream, version, error from projections.parked")
        .decode((String, Int, String).self)
      #expect(parked.count == 1 && parked[0].0 == "thing-7" && parked[0].1 == 3 && parked[0].2.contains("refuse"))
      #expect(
        try await engine.pool.query("select count from read_models.counting where key = 'thing-7'").value(Int.self) == 2
      )
      // A retry fails as long as the cause remains.
      try await engine.pool.query("update projections.parked set request = 'retry'")
      try await eventually("it was tried again") {
        try await engine.pool.query("select attempts from projections.parked").value(Int.self) == 2
      }
      try await engine.append(20)
      try await engine.pool.query("alter table read_models.counting_g1 drop constraint refuse")
      try await engine.pool.query("update projections.parked set request = 'retry'")
      try await engine.expectComplete(of: 6)
      #expect(try await engine.pool.query("select 1 from projections.parked").isEmpty)
    }
  }

  @Test(
    "Events that arrive for a parked stream during its retry are not lost", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func retryInTraffic(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    try await engine.pool.query("alter table read_models.counting_shape add constraint refuse check (count < 3)")
    try await withServices(engine.feeding(engine.projector(headInterval: .milliseconds(90)))) {
      for _ in 0..<3 { try await engine.append(20) }
      try await eventually("all are parked") {
        try await engine.pool.query("select 1 from projections.parked").count == 20
      }
      try await engine.pool.query("alter table read_models.counting_g1 drop constraint refuse")
      var count = 3
      func keepAppending(_ times: Int) async throws {
        for _ in 0..<times {
          try await engine.append(20)
          count += 1
        }
      }
      try await keepAppending(10)
      for stream in 0..<20 {
        try await engine.pool.query(
          "update projections.parked set request = 'retry' where stream = \("thing-\(stream)")")
        try await keepAppending(10)
      }
      try await engine.expectComplete(of: count)
    }
  }

  @Test(
    "A transaction of a sleeping process loses its locks when its lease expires", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func sleepingTransaction(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    try await withServices([engine.projector()]) {
      try await engine.append(20)
      try await engine.expectComplete(of: 1)
      // The worker must not report on its assignments now: it locks them in another order than the sleeper.
      try await eventually("all assignments are live") {
        try await engine.pool.query("select 1 from projections.checkpoints where mode = 'live'").count
          == Partitioning.standard.count
      }
      let sleeper = try await FreshDatabase.current.connect()
      try await Projector.prepare(leaseDuration: .seconds(1))(sleeper)
      try await sleeper.execute(
        "begin; select * from projections.checkpoints for update; select * from read_models.counting_g1 for update")
      try await engine.append(20)
      try await engine.expectComplete(of: 2)
      await #expect(throws: PostgresError.self) { try await sleeper.query("select 1") }
    }
  }

  @Test(
    "A discarded event is recorded, and its stream continues after it", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func discarding(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    try await engine.pool.query(
      "alter table read_models.counting_shape add constraint refuse check (key <> 'thing-7' or count < 3)")
    try await withServices([engine.projector()]) {
      for _ in 0..<3 { try await engine.append(20) }
      try await eventually("it is parked") {
        try await engine.pool.query("select 1 from projections.parked").count == 1
      }
      try await engine.pool.query("alter table read_models.counting_g1 drop constraint refuse")
      try await engine.pool.query("update projections.parked set request = 'discard'")
      try await engine.append(20)
      try await eventually("it goes on") {
        let count = try await engine.pool.query("select count from read_models.counting where key = 'thing-7'").value(
          Int.self)
        let waiting = try await engine.pool.query("select 1 from projections.parked").count
        return (count, waiting) == (3, 0)
      }
      let discarded = try await engine.pool.query("select stream, version from projections.discarded")
        .decode((String, Int).self)
      #expect(discarded.count == 1 && discarded[0] == ("thing-7", 3))
    }
  }
}
