import EventSourcing
import Foundation
import HTTPKit
import JSON
import Observability
import Postgres
import RabbitMQ
import RabbitMQFeed
import ServiceKit
import SettingsKit
import Synchronization
import TestSupport
import Testing

@Suite("Recorded metrics", .tags(.system), .needsServers)
struct RecordingTests {
  @Test("Every metric is recorded by a process, or the test names the reason", .freshVirtualHost, .freshDatabase())
  func everyMetric() async throws {
    let recorded = Recorded()
    let system = System(settings: ["LEASE_DURATION": "2"])
    try await system.migrate()
    let owner = try await FreshDatabase.current.connect()
    func start(_ service: System.Service, _ settings: [String: String] = [:]) async throws -> RunningService {
      let running = try await system.startReady(service, settings: settings)
      recorded.watch(running)
      return running
    }
    try await commandsAndFeeds(recorded, start, owner)
    try await exhausted(recorded, system)
    try await strangers(recorded, system)
    let catalogue = Set(MetricCatalogue.all.map(\.name))
    let missing = catalogue.subtracting(recorded.all).subtracting(unprovokedMetrics.keys)
    #expect(missing.isEmpty, "no process recorded \(missing.sorted())")
    let known = catalogue.union(ProcessStatistics.descriptions.map(\.name))
    #expect(recorded.shown.isSubset(of: known), "not in the catalogue: \(recorded.shown.subtracting(known))")
    #expect(Set(unprovokedMetrics.keys).isSubset(of: catalogue), "named here, and not in the catalogue")
  }

  private func commandsAndFeeds(
    _ recorded: Recorded, _ start: (System.Service, [String: String]) async throws -> RunningService,
    _ owner: PostgresConnection
  ) async throws {
    let one = try await start(.commandService, [:])
    let other = try await start(.commandService, [:])
    func post(_ service: RunningService, _ path: String, _ body: JSON) async throws -> HTTPAnswer {
      try await service.http.post(path, body)
    }
    for sku in ["A", "HOT"] {
      let product: JSON = ["sku": .string(sku), "name": "A", "unitPrice": 5, "tracksStock": false]
      #expect(try await post(one, "/v1/products", product).status == 201)
    }
    func order(_ id: String) async throws -> HTTPAnswer {
      try await post(one, "/v1/orders", ["orderId": .string(id), "lines": [["sku": "A", "quantity": 1]]])
    }
    let numbers = Mutex(0)
    /// Places orders, and returns the token of the last one.
    @discardableResult func orders(_ count: Int) async throws -> String {
      var token = ""
      for _ in 0..<count {
        let number = numbers.withLock { number in
          number += 1
          return number
        }
        token = try await order("o-\(number)").headers["consistency-token"] ?? token
      }
      return token
    }
    let price: @Sendable (RunningService) async throws -> Void = { service in
      _ = try await service.http.send(
        "PUT", "/v1/products/HOT/price", body: (["unitPrice": .integer(.random(in: 1...1_000_000))] as JSON).encoded)
    }
    // Both replicas change one product: this causes conflicts, contention locks and snapshots.
    try await recorded.eventually([
      "commands_total", "command_queue", "command_batch_size", "command_commit_seconds", "command_conflicts_total",
      "command_contention_locks_total", "snapshots_saved_total", "http_requests_total", "http_request_seconds",
      "http_connections",
      "process_info", "postgres_pool_leased",
    ]) {
      await withTaskGroup(of: Void.self) { group in
        for number in 0..<200 { group.addTask { try? await price(number % 2 == 0 ? one : other) } }
        group.addTask { await recorded.look() }
      }
    }
    // Breaks connections during appends.
    try await recorded.eventually(["command_batches_resent_total"]) {
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<40 { group.addTask { try? await price(one) } }
        try await owner.execute(
          "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'counterflow_command' and state = 'active' and datname = current_database()"
        )
        try await group.waitForAll()
      }
    }
    try await owner.execute("update event_store.idempotency_keys set recorded_at = recorded_at - interval '10 days'")
    let third = try await start(.commandService, ["IDEMPOTENCY_RETENTION": "1"])
    try await recorded.eventually(["idempotency_keys_forgotten_total", "snapshots_loaded_total"]) {
      try await price(third)
    }

    let relay = try await start(.relay, [:])
    try await recorded.eventually([
      "relay_active", "relay_position", "relay_events_published_total", "relay_messages_undelivered_total",
      "relay_confirm_seconds", "integration_position", "integration_events_unrouted_total",
    ]) { _ = try await orders(5) }
    try await feeds(recorded, start, orders)
    withExtendedLifetime((one, other, third, relay)) {}
  }

  private func feeds(
    _ recorded: Recorded, _ start: (System.Service, [String: String]) async throws -> RunningService,
    _ orders: (Int) async throws -> String
  ) async throws {
    let host = FreshVirtualHost.current!
    let broker = try await host.connect()
    let queue = try await broker.declare(Queue("mine", isDurable: true))
    try await broker.bind(queue: queue.name, to: IntegrationFeed.exchange.name, routingKey: "#")
    try await recorded.eventually(["integration_events_published_total"]) { _ = try await orders(5) }
    let full = try await broker.declare(
      Queue("full", isDurable: true, arguments: ["x-max-length": 0, "x-overflow": "reject-publish"]))
    try await broker.bind(queue: full.name, to: IntegrationFeed.exchange.name, routingKey: "#")
    try await recorded.eventually(["integration_events_refused_total"]) { _ = try await orders(1) }
    try await broker.delete(queue: full.name)

    let projector = try await start(.projector, [:])
    let queries = try await start(.queryService, ["QUERY_CACHE_MB": "1", "DATABASE_POOL_SIZE": "2"])
    try await recorded.eventually([
      "projection_events_applied_total", "projection_lag_positions", "projection_lag_seconds",
      "projection_partition_lag_positions", "projection_assignments_owned", "projection_batch_size",
      "projection_batch_seconds", "read_model_lag_seconds",
    ]) { _ = try await orders(20) }
    // Blocks all checkpoints: rows are still read, and the read models fall behind.
    let owner = try await FreshDatabase.current.connect()
    try await owner.execute("begin; lock table projections.checkpoints in exclusive mode")
    try await recorded.eventually(["read_model_lag_positions"]) {
      _ = try await orders(1)
      _ = try await queries.http.get("/v1/orders/missing")
    }
    try await owner.execute("rollback")
    // Sends a message of the live feed a second time, and one that cannot be decoded.
    let copies = try await broker.declare(Queue("copies", isDurable: true))
    try await broker.bind(queue: copies.name, to: LiveFeed.exchange.name, routingKey: LiveFeed.routingKey(.standard))
    _ = try await orders(1)
    let (consumer, repeating) = (try await host.connect(), try await host.connect())
    var deliveries = try await consumer.consume(queue: copies.name, prefetch: 1).makeAsyncIterator()
    let copy = try #require(try await deliveries.next())
    await consumer.close()
    let messages = [copy.body, [1, 2, 3]].map {
      Message(exchange: LiveFeed.exchange.name, routingKey: copy.routingKey, body: $0)
    }
    try await recorded.eventually(["projection_duplicates_total", "projector_deliveries_dropped_total"]) {
      _ = try await repeating.publish(messages)
    }
    await repeating.close()
    try await queried(recorded, queries, orders)
    try await followed(recorded, queries)
    try await waited(recorded, queries, projector, orders)
    try await recorded.eventually([
      "projection_gaps_total", "integration_failures_total",
      "rabbitmq_publisher_connections_lost_total", "rabbitmq_consumer_connections_lost_total",
    ]) {
      try await host.closeConnections()
      _ = try await orders(20)
    }
    // No feed works without the write store.
    try await recorded.eventually(["relay_failures_total"]) {
      try await end("relay")
      _ = try await orders(5)
    }
    try await refusing(recorded, orders)
  }

  private func queried(_ recorded: Recorded, _ queries: RunningService, _ orders: (Int) async throws -> String)
    async throws
  {
    let http = queries.http
    _ = try await http.get("/v1/orders/o-1", until: 200)
    // Sends tokens of events that are not projected yet, and more queries than there are connections.
    try await recorded.eventually([
      "query_cache_hits_total", "query_cache_misses_total", "query_cache_bytes", "query_wait_seconds",
      "postgres_pool_wait_seconds",
    ]) {
      let token = ["Consistency-Token": try await orders(1), "Prefer": "wait=30"]
      await withTaskGroup(of: Void.self) { group in
        for number in 0..<60 {
          let path = number % 2 == 0 ? "/v1/orders/o-1" : "/v1/orders?limit=100&q=a"
          group.addTask { _ = try? await http.send("GET", path, headers: number % 3 == 0 ? token : [:]) }
        }
        for _ in 0..<3 { group.addTask { await recorded.look() } }
      }
    }
  }

  /// Keeps a follower connected until it is counted.
  private func followed(_ recorded: Recorded, _ queries: RunningService) async throws {
    let curl = try ChildProcess(URL(fileURLWithPath: "/usr/bin/curl"), ["-sN", queries.http.base + "/v1/changes"])
    try await recorded.eventually(["query_followers"])
    curl.signal(SIGKILL)
    try await curl.wait()
  }

  /// A query waits for an event while the projector is suspended.
  private func waited(
    _ recorded: Recorded, _ queries: RunningService, _ projector: RunningService,
    _ orders: (Int) async throws -> String
  ) async throws {
    let stopped = try await projector.process.suspend()
    defer { ChildProcess.resume(stopped) }
    let token = ["Consistency-Token": try await orders(1), "Prefer": "wait=30"]
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { _ = try? await queries.http.send("GET", "/v1/orders?limit=1", headers: token) }
      try await eventually("a query waits") {
        await recorded.look(only: queries)
        return recorded.all.contains("counterflow_query_waiters")
      }
      ChildProcess.resume(stopped)
      try await group.waitForAll()
    }
  }

  /// Ends a service's connections to the database.
  private func end(_ role: String) async throws {
    let owner = try await FreshDatabase.current.connect()
    try await owner.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where usename = \("counterflow_" + role) and datname = current_database()"
    )
    await owner.close()
  }

  private func refusing(_ recorded: Recorded, _ orders: (Int) async throws -> String) async throws {
    let owner = try await FreshDatabase.current.connect()
    try await owner.execute("alter table read_models.orders_g1 add constraint refuse check (length(key) < 2) not valid")
    try await recorded.eventually(["projection_events_refused_total", "projection_streams_parked"]) {
      _ = try await orders(1)
    }
    try await owner.execute("alter table read_models.orders_g1 drop constraint refuse")
    try await recorded.eventually(["projection_interruptions_total"]) {
      try await end("projector")
      _ = try await orders(5)
    }
    // As after a switch to a standby.
    try await recorded.eventually(["store_failovers_total"]) {
      try await owner.query("update event_store.identity set timeline = 'another'")
      try await end("command")
      _ = try? await orders(1)
    }
  }

  /// Requests more histories than there are connections, while a locked table blocks them.
  private func exhausted(_ recorded: Recorded, _ system: System) async throws {
    let tight = try await system.startReady(
      .queryService, settings: ["HISTORY_POOL_SIZE": "1", "DATABASE_ACQUIRE_TIMEOUT": "0.1"])
    recorded.watch(tight)
    let owner = try await FreshDatabase.current.connect()
    try await owner.execute("begin; lock table event_store.events in access exclusive mode")
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<4 { group.addTask { _ = try? await tight.http.get("/v1/orders/o-1/history") } }
    }
    try await owner.execute("rollback")
    await owner.close()
    try await recorded.eventually(["postgres_pool_exhausted_total"])
  }

  /// One process with unreachable servers, and one that refuses its callers.
  private func strangers(_ recorded: Recorded, _ system: System) async throws {
    let nowhere = "postgres://nobody:nothing@127.0.0.1:9/none"
    let strict = try await system.start(
      .queryService,
      settings: [
        "AUTH": "jwt", "AUTH_KEY": String(repeating: "k3y-", count: 10), "RATE_LIMIT_PER_ADDRESS": "2",
        "HTTP_IDLE_TIMEOUT": "0.2",
      ])
    recorded.watch(strict)
    let lost = try await system.start(
      .queryService,
      settings: [
        "WRITE_DATABASE_URL": nowhere, "READ_DATABASE_URL": nowhere,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
      ])
    recorded.watch(lost)
    try await recorded.eventually([
      "http_refused_total", "http_rate_limited_total", "http_slow_clients_total",
      "postgres_connect_failures_total", "spans_dropped_total",
    ]) {
      for _ in 0..<10 { _ = try await strict.http.get("/v1/orders") }
      _ = try await lost.http.get("/v1/orders")
      let idle = try ChildProcess(
        URL(fileURLWithPath: "/bin/bash"),
        ["-c", "exec 3<>/dev/tcp/127.0.0.1/\(strict.http.base.split(separator: ":").last!); read -t 5 -u 3 || true"])
      try await idle.wait()
    }
  }
}
