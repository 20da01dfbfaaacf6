import EventSourcing
import Foundation
import Logging
import MetricsTestKit
import Postgres
import PostgresEventStore
import RabbitMQ
import RabbitMQFeed
import ServiceLifecycle
import TestSupport
import Testing

@testable import Projections

// Several workers, versions and histories.
extension EngineTests {
  @Test(
    "Many refused events or an unknown event halt the partition, without parking more streams",
    .freshVirtualHost, .freshDatabase(eventStoreSchema, projectionsSchema, tables), arguments: Feed.allCases,
    ["refused", "unknown"])
  func halting(feed: Feed, by cause: String) async throws {
    let engine = Engine(feed: feed)
    let one = Partitioning(count: 1)!
    if cause == "refused" {
      try await engine.pool.query("alter table read_models.counting_shape add constraint refuse check (count < 0)")
    }
    let metrics = TestMetrics()
    try await withServices([engine.projector(partitioning: one, parkLimit: 3)], metrics) {
      try await engine.append(20, type: cause == "refused" ? "Happened" : "Unknown")
      try await eventually("the partition says why it stopped") {
        let rows = try await engine.pool.query(
          "select mode, error from projections.checkpoints where halted_at is not null"
        ).decode((String, String).self)
        return rows.count == 1 && rows[0].0 == "halted"
          && rows[0].1.contains(cause == "refused" ? "many streams" : "does not know")
      }
      let parked = try await engine.pool.query("select 1 from projections.parked").count
      #expect(parked == (cause == "refused" ? 3 : 0))
      try await eventually("the metric has it") {
        metrics.recorders(label: "projection_assignments_stopped").contains { $0.values.contains(1) }
      }
    }
  }

  /// The number of assignments of each worker, sorted; unowned assignments count as one worker.
  private func shares(_ engine: Engine) async throws -> [Int] {
    try await engine.pool.query("select count(*) from projections.checkpoints group by owner order by 1")
      .decode(Int.self)
  }

  @Test(
    "Workers share the assignments evenly, also after one joins or leaves",
    .freshVirtualHost, .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func sharing(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    try await withServices(engine.feeding(engine.projector())) {
      try await engine.append(100)
      try await engine.expectComplete(of: 5)
      #expect(try await shares(engine) == [16])
      try await withServices([engine.projector()]) {
        try await eventually("two have half each") { try await shares(engine) == [8, 8] }
        try await withServices([engine.projector()]) {
          try await eventually("three have a third each") { try await shares(engine) == [5, 5, 6] }
          for _ in 0..<10 { try await engine.append(100) }
          try await engine.expectComplete(of: 55)
        }
        try await eventually("two have half each again") { try await shares(engine) == [8, 8] }
      }
      try await eventually("one has them all") { try await shares(engine) == [16] }
      try await engine.append(100)
      try await engine.expectComplete(of: 60)
    }
  }

  @Test(
    "A projector gets back assignments from a worker that died, even without new events",
    .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func quietLoss(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    let metrics = TestMetrics()
    try await withServices([engine.projector()], metrics) {
      try await eventually("one has them all") {
        try await engine.pool.query("select 1 from projections.checkpoints where owner is not null").count
          == Partitioning.standard.count
      }
      let owner = try await engine.pool.query("select distinct owner from projections.checkpoints").value(UUID.self)
      // One at a time: the worker renews all of them in another order, so one statement could deadlock.
      for partition in Int32(0)..<10 {
        try await engine.pool.query(
          "update projections.checkpoints set owner = gen_random_uuid() where partition = \(partition)")
      }
      try await eventually("it has them all again") {
        try await engine.pool.query("select 1 from projections.checkpoints where owner = \(owner)").count
          == Partitioning.standard.count
      }
      try await eventually("the metric has it") { metrics.counterTotal(label: "projection_fenced_total") > 0 }
    }
  }

  @Test(
    "Commits that the read store lost in a crash are applied again, even without new events",
    .freshVirtualHost, .freshDatabase(eventStoreSchema, projectionsSchema, tables), arguments: Feed.allCases)
  func lostCommits(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    let metrics = TestMetrics()
    try await engine.append(60)
    try await withServices([engine.projector()], metrics) {
      try await engine.expectComplete(of: 3)
      // Undoes everything at one moment.
      try await FreshDatabase.current.connect().execute(
        """
        begin;
        lock projections.checkpoints, read_models.counting_g1, read_models.counting_digits_g1;
        delete from read_models.counting_g1;
        delete from read_models.counting_digits_g1;
        update projections.checkpoints set position = 0, event_id = null, applied = 0, ids = 0;
        delete from projections.ledger;
        commit;
        """)
      try await engine.expectComplete(of: 3)
      #expect(metrics.counterTotal(label: "projection_assignments_taken_back_total") > 0)
    }
  }

  @Test(
    "A worker that has lost its assignments cannot write", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func fencing() async throws {
    let engine = Engine()
    let pool = engine.pool
    let generation = try await engine.firstGeneration()
    let store = PostgresProjectionStore(pool)
    let (old, new) = (
      Lane(generation: generation, worker: UUID(), number: 0, count: 1),
      Lane(generation: generation, worker: UUID(), number: 0, count: 1)
    )
    let assignment = try await store.claim(16, old)[0]
    // The old worker has no row among the workers, so it counts as gone.
    #expect(try await store.claim(16, new).count == Partitioning.standard.count)
    let advance = Advance(
      partition: assignment.partition, from: assignment.checkpoint,
      to: Checkpoint(position: Position(1), eventID: UUID()),
      applied: .init())
    func write(_ queries: [Query], of lane: Lane) async throws {
      let rounds = SharedRounds(store, worker: lane.worker)
      let plan = BatchPlan(
        load: nil, statements: { _ in queries.map(Statement.query) }, inMemory: { _ in .init() })
      var part = RoundPart(generation: generation, rows: plan)
      part.move(advance)
      try await rounds.write(part, of: ObjectIdentifier(rounds))
    }
    await #expect(throws: FencedError.self) {
      try await write(["insert into read_models.counting_g1 values ('x', 1, 1, '{}', 1)"], of: old)
    }
    #expect(try await pool.query("select 1 from read_models.counting").isEmpty)
    try await write([], of: new)
    // The same step a second time: the checkpoint has moved.
    await #expect(throws: FencedError.self) { try await write([], of: new) }
  }

  @Test(
    "A store with another history is detected, and nothing is written", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func fork(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    try await withServices([engine.projector()]) {
      try await engine.append(100)
      try await engine.expectComplete(of: 5)
    }
    try await engine.pool.query("update event_store.identity set history_id = gen_random_uuid()")
    try await engine.append(100)
    let projector = engine.projector()
    try await withServices([projector]) {
      try await engine.expectFeed(of: projector)
      try await eventually("every partition says that its history has forked") {
        try await engine.pool.query(
          "select 1 from projections.checkpoints where mode = 'forked' and error like '%history id%'"
        ).count == Partitioning.standard.count
      }
      // Nothing is written any more.
      #expect(try await engine.pool.query("select sum(count)::bigint from read_models.counting").value(Int.self) == 100)
    }
  }

  @Test(
    "Rows can be deleted, and events without a row only move the checkpoint", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func deletion(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    try await withServices([engine.projector()]) {
      try await engine.append(20)
      try await engine.append(20, type: "Ignored")
      try await engine.append(10, type: "Ended")
      try await eventually("ten are left") {
        let rows = try await engine.pool.query("select 1 from read_models.counting").count
        let position = try await engine.pool.query("select coalesce(max(position), 0) from projections.checkpoints")
          .value(Int.self)
        return rows == 10 && position == 50
      }
    }
  }

  @Test(
    "Finer partitions serve once each has reached its coarser one or has no more events",
    .freshVirtualHost, .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func finerPartitions() async throws {
    let engine = Engine()
    let generations = Generations(engine.pool)
    let historyID = try await engine.store.historyID()
    try await engine.append(40)
    let (one, fine) = (try #require(Partitioning(count: 1)), Partitioning.standard)
    let projection = Projection(Counting())
    _ = try await generations.add(projection, one, historyID: historyID, state: .serving)
    _ = try await generations.add(projection, fine, historyID: historyID, state: .building)
    let second = try #require(try await generations.all(of: ["counting"]).last)
    let worker = UUID()
    try await engine.pool.query(
      "insert into projections.workers values (\(worker), 'a worker', '{}', now(), now() + interval '1 hour')")
    try await engine.pool.query(
      "update projections.checkpoints set owner = \(worker), mode = 'live', position = 40, event_id = gen_random_uuid()"
    )
    @Sendable func put(_ partition: Partition, at position: Int64) async throws {
      try await engine.pool.query(
        """
        update projections.checkpoints
        set position = \(position), event_id = case when \(position) > 0::bigint then gen_random_uuid() end
        where generation = 2 and partition = \(Int32(partition.index))
        """)
    }
    let heads = try await engine.store.heads(of: fine)
    let behind = try #require(heads.filter { (2..<40).contains($0.position.rawValue) }.first)
    for head in heads { try await put(head.partition, at: head.position.rawValue - (head == behind ? 1 : 0)) }
    let reason = try await generations.activate(second, of: engine.store)
    #expect(reason?.contains("has not come as far") == true, "\(reason ?? "it serves")")
    try await put(behind.partition, at: behind.position.rawValue)
    #expect(try await generations.activate(second, of: engine.store) == nil)
  }

  @Test(
    "A new version or partition count is built beside the serving generation, and serves once caught up",
    .freshVirtualHost, .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases, [(2, 16), (1, 8)])
  func newVersion(feed: Feed, new: (version: Int, partitions: Int)) async throws {
    let engine = Engine(feed: feed)
    try await withServices(engine.feeding(engine.projector())) {
      try await engine.append(100)
      try await engine.expectComplete(of: 5)
      try await engine.migrate(toVersion: new.version)
      try await withServices([
        engine.projector(version: new.version, partitioning: Partitioning(count: new.partitions)!)
      ]) {
        try await engine.append(100)
        try await eventually("the new one serves") {
          try await engine.pool.query(
            "select 1 from projections.generations where generation = 2 and state = 'serving'"
          ).count == 1
        }
        try await engine.append(100)
        try await engine.expectComplete(of: 15)
        try await eventually("the old one is kept up") {
          try await engine.pool.query("select sum(count)::bigint from read_models.counting_g1").value(Int.self) == 300
        }
      }
      // The old one serves again once no worker maintains the new one.
      try await eventually("the old one serves again") {
        try await engine.pool.query("select generation from projections.generations where state = 'serving'")
          .value(Int.self) == 1
      }
      try await engine.append(100)
      try await engine.expectComplete(of: 20)
    }
  }
}
