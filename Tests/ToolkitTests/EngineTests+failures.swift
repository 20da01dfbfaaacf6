import EventSourcing
import Failures
import Foundation
import MetricsTestKit
import Postgres
import PostgresEventStore
import Synchronization
import TestSupport
import Testing

@testable import Projections

/// Throws while it is on, and counts how often.
private final class Fault: Sendable {
  private let error: any Error
  private let isOn = Atomic(true)
  private let thrown = Atomic(0)

  init(_ error: any Error) { self.error = error }

  var count: Int { thrown.load(ordering: .relaxed) }
  func end() { isOn.store(false, ordering: .relaxed) }

  func strike() throws {
    guard isOn.load(ordering: .relaxed) else { return }
    thrown.add(1, ordering: .relaxed)
    throw error
  }
}

private struct Classified: ClassifiedError { let failureKind: FailureKind }
private struct Surprise: Error {}

// Failures that the events did not cause (decision 16).
extension EngineTests {
  @Test(
    "A server failure or changed history while a projection prepares a batch parks no stream",
    .freshVirtualHost, .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases, [FailureKind.retry, .historyChanged])
  func infrastructure(feed: Feed, kind: FailureKind) async throws {
    let engine = Engine(feed: feed)
    let fault = Fault(Classified(failureKind: kind))
    try await withServices([engine.projector { try fault.strike() }]) {
      try await engine.append(20)
      // The whole batch comes again each time. A bisected batch would be down to single events by then.
      try await eventually("it has failed again and again") { fault.count > 8 }
      #expect(try await engine.pool.query("select 1 from projections.parked").isEmpty)
      #expect(try await engine.pool.query("select 1 from projections.checkpoints where halted_at is not null").isEmpty)
      fault.end()
      try await engine.expectComplete(of: 1)
    }
  }

  @Test(
    "A write store that hangs during an activation does not block the serving generation",
    .freshVirtualHost, .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func slowWriteStore() async throws {
    let engine = Engine()
    let generations = Generations(engine.pool)
    let historyID = try await engine.store.historyID()
    let projection = Projection(Counting())
    for state in [Generation.State.serving, .building] {
      _ = try await generations.add(projection, .standard, historyID: historyID, state: state)
    }
    let second = try #require(try await generations.all(of: ["counting"]).last)
    let worker = UUID()
    try await engine.pool.query(
      "insert into projections.workers values (\(worker), 'a worker', '{}', now(), now() + interval '1 hour')")
    try await engine.pool.query("update projections.checkpoints set owner = \(worker), mode = 'live'")
    let writeStore = try await FreshDatabase.current.connect()
    try await writeStore.execute("begin; lock table event_store.events in access exclusive mode")
    let activation = Task { try await generations.activate(second, of: engine.store) }
    try await eventually("the write store is asked") {
      try await engine.pool.query(
        """
        select 1 from pg_locks l join pg_class c on c.oid = l.relation
        where not l.granted and c.relname like 'events%' and l.database = (
          select oid from pg_database where datname = current_database())
        """
      ).count > 0
    }
    // Every commit of the serving generation locks these rows. This fails at once if its checkpoints are locked.
    try await engine.pool.query(
      "select 1 from projections.checkpoints where generation = 1 for update nowait")
    try await writeStore.execute("rollback")
    #expect(try await activation.value == nil)
  }

  @Test(
    "A hung server process blocks only the read model that uses it, until its timeout",
    .freshVirtualHost, .whenThereIsRoom)
  func hungServerProcess() async throws {
    let server = try PrivateServer(.postgres)
    let configuration = PostgresConfiguration(url: try await server.url(), statementTimeout: .seconds(3))
    let pool = PostgresPool(configuration, limits: .init(size: 24, acquireTimeout: .seconds(60)), logger: .quiet)
    // Waits until the server answers.
    try await pool.query("select 1")
    let admin = try await PostgresConnection.connect(configuration)
    var other = Counting()
    other.name = "other"
    let both = readModelsSchema([Projection(Counting()), Projection(other)])
    for schema in [eventStoreSchema, projectionsSchema, both] { _ = try await admin.migrate(schema) }
    let engine = Engine(pool: pool)
    @Sendable func expectCount(_ count: Int, of table: String) async throws {
      try await eventually("\(table) has \(count)") {
        try await engine.pool.query("select coalesce(sum(count), 0)::bigint from read_models.\(unescaped: table)")
          .value(Int.self)
          == count
      }
    }
    try await withServices([engine.projector(partitioning: Partitioning(count: 1)!, beside: other)]) {
      try await engine.append(20)
      try await expectCount(20, of: "counting")
      try await expectCount(20, of: "other")
      // While it waits for the table, it holds no row that its successor needs.
      let locking = try await PostgresConnection.connect(configuration)
      try await locking.execute("begin; lock table read_models.counting_g1 in access exclusive mode")
      try await engine.append(20)
      let waiting: Query =
        "select pid from pg_locks where relation = 'read_models.counting_g1'::regclass and not granted"
      try await eventually("it waits") { try await admin.query(waiting).count == 1 }
      let pid = try await admin.query(waiting).value(Int32.self)
      kill(pid, SIGSTOP)
      defer { kill(pid, SIGCONT) }
      try await locking.execute("rollback")
      try await expectCount(40, of: "other")
      try await expectCount(40, of: "counting")
      let status = try String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
      #expect(status.contains(") T "), "it hangs no more: \(status)")
    }
    server.process.signal(SIGINT)
    try await server.process.wait()
  }

  @Test(
    "An unclassified error halts its partitions with a reason, and parks no stream", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func unclassified(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    let fault = Fault(Surprise())
    let one = Partitioning(count: 1)!
    let metrics = TestMetrics()
    let stopped = { metrics.recorders(label: "projection_assignments_stopped").flatMap(\.values) }
    try await withServices([engine.projector(partitioning: one) { try fault.strike() }], metrics) {
      try await engine.append(20)
      try await eventually("the partition says why it stopped") {
        let rows = try await engine.pool.query(
          "select mode, error from projections.checkpoints where halted_at is not null"
        ).decode((String, String).self)
        return rows.count == 1 && rows[0].0 == "halted" && rows[0].1.contains("Surprise")
      }
      #expect(try await engine.pool.query("select 1 from projections.parked").isEmpty)
      try await eventually("the metric has it") { stopped().contains(1) }
      fault.end()
      try await engine.expectComplete(of: 1)
      try await eventually("no assignment stands still any more") {
        metrics.recorders(label: "projection_assignments_stopped").allSatisfy { $0.lastValue == 0 }
      }
    }
  }

  @Test(
    "A lane that keeps failing is suspended and counted, and its events are applied once it recovers",
    .freshVirtualHost, .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func standingAside(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    let fault = Fault(Classified(failureKind: .retry))
    let metrics = TestMetrics()
    try await withServices([engine.projector { try fault.strike() }], metrics) {
      try await engine.append(20)
      try await eventually("a lane is suspended") {
        metrics.counterTotal(label: "projection_lanes_suspended_total") > 0
      }
      fault.end()
      try await engine.expectComplete(of: 1)
    }
  }

  @Test(
    "A retry that takes several transactions updates the parked position in each of them", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func pagedRetry(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    try await FreshDatabase.current.connect().execute(
      """
      alter table read_models.counting_shape add constraint refuse check (key <> 'thing-0' or count < 3);
      create table seen (version bigint, position bigint, event_id uuid, event_type text);
      create function note() returns trigger language plpgsql as $$
      begin
        insert into seen values (new.version, new.position, new.event_id, new.event_type);
        return null;
      end $$;
      create trigger note after update on projections.parked
        for each row when (new.version <> old.version) execute function note();
      """)
    try await withServices([engine.projector(batchSize: 5, partitioning: Partitioning(count: 1)!)]) {
      for number in 0..<18 { try await engine.append(2, streams: 2, type: number % 2 == 0 ? "Happened" : "Returned") }
      try await eventually("it is parked, and all else is applied") {
        let count = try await engine.pool.query("select count from read_models.counting where key = 'thing-1'").decode(
          Int.self)
        return try await engine.pool.query("select 1 from projections.parked").count == 1 && count == [18]
      }
      try await engine.pool.query("alter table read_models.counting_g1 drop constraint refuse")
      try await engine.pool.query("update projections.parked set request = 'retry'")
      try await engine.expectComplete(streams: 2, of: 18)
    }
    // Events 3 to 18 are retried in pages of five, so the position moves to 8, 13 and 18.
    let events = try await engine.pool.query(
      """
      select version from event_store.events e join seen s using (version, position) where e.stream = 'thing-0'
      and e.id = s.event_id and e.type = s.event_type order by 1
      """
    ).decode(Int.self)
    #expect(events == [8, 13, 18])
  }
}
