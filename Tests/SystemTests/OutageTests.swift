import Foundation
import JSON
import Observability
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@Suite("Outages", .tags(.system), .needsServers)
struct OutageTests {
  private let lantern: JSON = ["sku": "LANTERN", "name": "Metal lantern", "unitPrice": 339, "tracksStock": false]

  private func order(_ id: String) -> JSON { ["orderId": .string(id), "lines": [["sku": "LANTERN", "quantity": 1]]] }

  /// Starts all four services, and sends one order through them.
  private func start(
    _ system: System
  ) async throws -> (
    commands: RunningService, relay: RunningService, projector: RunningService, queries: RunningService
  ) {
    let commands = try await system.startReady(.commandService)
    let relay = try await system.startReady(.relay)
    let projector = try await system.startReady(.projector)
    let queries = try await system.startReady(.queryService)
    _ = try await commands.http.post("/v1/products", lantern)
    #expect(try await commands.http.post("/v1/orders", order("before")).status == 201)
    #expect(try await queries.http.get("/v1/orders/before", until: 200).status == 200)
    return (commands, relay, projector, queries)
  }

  @Test("Without PostgreSQL commands and queries get 503, and recover by themselves", .freshVirtualHost)
  func postgres() async throws {
    let server = try PrivateServer(.postgres)
    let system = System(writeURL: try await server.url())
    try await system.migrate()
    let (commands, relay, projector, queries) = try await start(system)

    server.process.signal(SIGKILL)
    try await server.process.wait()
    // The first command may have been in flight when the connection broke, so its outcome is unknown.
    try await eventually("commands are refused") {
      try await commands.http.post("/v1/orders", order("during")).status == 503
    }
    let refused = try await commands.http.post("/v1/orders", order("during"))
    #expect(refused.status == 503 && refused.headers["retry-after"] != nil && refused.problem == "unavailable")
    try await eventually("queries are refused") { try await queries.http.get("/v1/orders/before").status == 503 }
    #expect(try await queries.http.get("/v1/orders/before").headers["retry-after"] != nil)
    for service in [commands, relay, projector, queries] {
      try await eventually("\(service.http.base) is not ready") { await !service.isReady() }
      #expect(try await service.http.get("/healthz").status == 200)
    }

    _ = try PrivateServer(.postgres, inPlaceOf: server)
    for service in [commands, relay, projector, queries] { try await service.becomesReady() }
    try await eventually("commands are taken again") {
      try await [201, 409].contains(commands.http.post("/v1/orders", order("during")).status)
    }
    #expect(try await commands.http.post("/v1/orders", order("after")).status == 201)
    for id in ["before", "during", "after"] {
      #expect(try await queries.http.get("/v1/orders/\(id)", until: 200).json["total"] == 339)
    }
  }

  @Test(
    "After an undeclared move to another server, commands on customers are refused like all others", .freshStores,
    .freshVirtualHost)
  func foreignServer() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let customer: JSON = ["customerId": "ada", "name": "Ada", "email": "ada@example.org"]
    #expect(try await commands.http.post("/v1/customers", customer).status == 201)
    let database = try await FreshDatabase.current.connect()
    try await database.query("update event_store.identity set system_identifier = system_identifier - 1")
    try await database.query(
      """
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and usename = 'counterflow_command'
      """)
    try await eventually("orders are refused") { try await commands.http.post("/v1/orders", order("a")).status == 503 }
    for answer in [
      try await commands.http.post("/v1/customers", ["name": "Bob"]),
      try await commands.http.send("PATCH", "/v1/customers/ada", body: (["name": "Ada L."] as JSON).encoded),
      try await commands.http.send("DELETE", "/v1/customers/ada/personal-data"),
    ] {
      #expect(answer.status == 503 && answer.problem == "unavailable", "\(answer.text)")
      #expect(answer.text.contains("not the one it was"), "\(answer.text)")
    }
  }

  @Test("Hanging searches do not block reads by key", .freshStores, .freshVirtualHost)
  func searches() async throws {
    let system = System()
    try await system.migrate()
    let queries = try await start(system).queries
    #expect(try await queries.http.get("/v1/products/LANTERN", until: 200).status == 200)
    let database = try await FreshDatabase.readStore.connect()
    try await database.execute("begin; lock table read_models.customers in access exclusive mode")
    let watching = try await FreshDatabase.readStore.connect()
    try await withThrowingTaskGroup(of: Int.self) { group in
      for number in 0..<20 {
        group.addTask { try await queries.http.get("/v1/customers?q=somebody\(number)").status }
      }
      try await eventually("as many hang as may run at once") {
        try await watching.query(
          "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ).value(Int.self) >= 3
      }
      for path in ["/v1/orders/before", "/v1/products/LANTERN", "/readyz"] {
        #expect(try await queries.http.get(path).status == 200, "\(path)")
      }
      try await database.execute("rollback")
      // A search that waited longer than DATABASE_ACQUIRE_TIMEOUT for a connection got 503.
      for try await status in group { #expect([200, 503].contains(status)) }
    }
    #expect(try await queries.http.get("/v1/customers?q=somebody").status == 200)
  }

  @Test("Without RabbitMQ commands succeed, and reads catch up", .freshStores)
  func rabbitMQ() async throws {
    let server = try PrivateServer(.rabbitmq)
    let system = System(amqpURL: try await server.url())
    try await system.migrate()
    let (commands, relay, projector, queries) = try await start(system)
    server.process.signal(SIGKILL)
    try await server.process.wait()
    for n in 0..<20 { #expect(try await commands.http.post("/v1/orders", order("during-\(n)")).status == 201) }
    try await eventually("relay and projector say so") {
      let (relayReady, projectorReady) = (await relay.isReady(), await projector.isReady())
      return !relayReady && !projectorReady
    }
    // The lag stays known, however often the relay restarts.
    for _ in 0..<3 {
      try await eventually("the relay says how far it is behind") {
        (Exposition(try await relay.http.get("/metrics").text).sum("counterflow_relay_lag_positions") ?? 0) >= 20
      }
      try await Task.sleep(for: .seconds(1))
    }
    // Reads follow the store even before the broker is back.
    for n in 0..<20 { #expect(try await queries.http.get("/v1/orders/during-\(n)", until: 200).status == 200) }

    _ = try PrivateServer(.rabbitmq, inPlaceOf: server)
    try await relay.becomesReady()
    try await projector.becomesReady()
    #expect(try await commands.http.post("/v1/orders", order("after")).status == 201)
    #expect(try await queries.http.get("/v1/orders/after", until: 200).status == 200)
    try await eventually("the relay owes nothing any more") {
      Exposition(try await relay.http.get("/metrics").text).sum("counterflow_relay_lag_positions") == 0
    }
  }
}

@Suite("Starting", .tags(.system), .needsServers, .whenThereIsRoom)
struct StartTests {
  @Test(
    "A service is not ready until the schema fits, says why, and then becomes ready", .freshDatabase(),
    .freshVirtualHost)
  func schema() async throws {
    // Roles belong to the server. Another database creates them, so that the services can log in.
    let other = FreshDatabase.current.name + "_roles"
    try await FreshDatabase.current.connect().execute("create database \(other)")
    try await System(writeURL: FreshDatabase(name: other).url).migrate()
    let system = System()
    let services = [
      try await system.start(.commandService), try await system.start(.relay), try await system.start(.projector),
      try await system.start(.queryService),
    ]
    for service in services {
      let answer = try await service.http.get("/readyz", until: 503)
      #expect(answer.problem == "not-ready" && answer.text.contains("counterflow migrate"))
      #expect(try await service.http.get("/healthz").status == 200)
    }
    try await system.migrate()
    for service in services { try await service.becomesReady() }
    // Repeated and concurrent migrations change nothing.
    let more = try (0..<3).map { _ in try system.run("counterflow", ["migrate"]) }
    for process in more {
      #expect(try await process.wait() == 0)
      #expect(process.output.contains("is already at version \(eventStoreSchema.version)"))
    }
  }

  @Test(
    "A process exits on an invalid setting, and names it and what is allowed, without secret values",
    arguments: [
      ("command-service", "WRITE_DATABASE_URL", "mysql://sesame", "postgres://"),
      ("command-service", "HTTP_PORT", "http", "0 to 65535"),
      ("command-service", "CURRENCY", "pounds", "ISO 4217"), ("command-service", "DATABASE_POOL_SIZE", "1", "2 to 200"),
      ("relay", "AMQP_URL", "http://sesame", "amqp://"), ("relay", "LEASE_DURATION", "0", "1 to 300"),
      ("projector", "PARTITIONS", "3", "1, 2, 4, 8, 16, 32 or 64"), ("projector", "LOG_LEVEL", "loud", "warning"),
      ("query-service", "READ_DATABASE_URL", "", "postgres://"),
      ("query-service", "READ_DATABASE_URL", "postgres://u:sesame@h:99999/x", "postgres://"),
      ("query-service", "READ_DATABASE_URL", "postgres://u:sesame@h/x?foo=bar", "postgres://"),
      ("relay", "AMQP_URL", "amqp://u:sesame@h:x/", "amqp://"), ("query-service", "HTTP_HOST", "a b", "address"),
    ])
  func settings(executable: String, name: String, value: String, allowed: String) async throws {
    let system = System(writeURL: "postgres://a:b@127.0.0.1:1/c", amqpURL: "amqp://a:b@127.0.0.1:1/%2F")
    let process = try system.run(executable, settings: [name: value])
    #expect(try await process.wait() == 78)
    #expect(process.output.contains(name) && process.output.contains(allowed), "\(process.output)")
    #expect(!process.output.contains("sesame"))
  }
}
