import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Versions", .tags(.system), .needsServers)
struct VersionTests {
  private static let version = "\(PackageVersion.current)"

  /// As a migration of a later release does that no longer suits this one.
  private static let leaveBehind = """
    update public.counterflow_schemas set version = 1000, program = '9.1.0', oldest_version = 999, oldest_program = '9.0.0'
    where schema = 'event_store'
    """
  private static let undo = """
    update public.counterflow_schemas set version = 1, program = '0.1.0-dev', oldest_version = 1, oldest_program = '0.1.0-dev'
    where schema = 'event_store'
    """

  @Test("Every program says its version, and so do its log, its metrics, its readiness and status", .freshDatabase())
  func shown() async throws {
    let file = try String(contentsOf: TestEnvironment.root.appendingPathComponent("VERSION"), encoding: .utf8)
    #expect(file == Self.version + "\n")
    let system = System()
    for service in System.Service.allCases {
      let process = try system.run(service.rawValue, ["--version"])
      #expect(try await process.wait() == 0 && process.output == Self.version + "\n")
    }
    let tool = try system.run("counterflow", ["--version"])
    #expect(try await tool.wait() == 0 && tool.output == Self.version + "\n")
    let application = try system.run("bank", ["--version"])
    #expect(try await application.wait() == 0 && application.output == "Counterflow \(Self.version)\n")

    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    #expect(commands.process.output.contains("version=\(Self.version)"), "\(commands.process.output)")
    #expect(
      try await commands.http.get("/metrics").text.contains("counterflow_build_info{version=\"\(Self.version)\"} 1"))
    #expect(try await commands.http.get("/readyz").json["version"]?.string == Self.version)
    let status = try system.run("counterflow", ["status", "--json"])
    _ = try await status.wait()
    let json = try JSON(parsing: Array(status.output.utf8))
    #expect(json["version"]?.string == Self.version)
    let schemas = json["schemas"]?.array ?? []
    #expect(
      Set(schemas.compactMap { $0["schema"]?.string }) == [
        "event_store", "personal", "projections", "commerce", "read_models", "erasures",
      ])
    #expect(schemas.allSatisfy { $0["migratedBy"]?.string == Self.version })
  }

  @Test(
    "A service that is too old for the schema does nothing and says what to deploy; the others refuse it too",
    .freshVirtualHost, .freshDatabase(), arguments: System.Service.allCases)
  func outdated(_ service: System.Service) async throws {
    let system = System()
    try await system.migrate()
    let database = try await FreshDatabase.current.connect()
    try await database.execute(Self.leaveBehind)
    let running = try await system.start(service)
    let answer = try await running.http.get("/readyz", until: 503)
    let failure = answer.json["failures"]?["writeStore"]?.string ?? ""
    #expect(failure.contains("only 9.0.0 or newer") && failure.hasSuffix("Deploy version 9.1.0"), "\(answer.text)")
    #expect(try await running.http.get("/healthz").status == 200)
    #expect(running.process.output.contains("may not run beside the database's schema"), "\(running.process.output)")
    let refused = try await running.http.post("/v1/products", ["sku": "LANTERN"])
    #expect(refused.status == 503 && refused.text.contains("too old"), "\(refused.text)")
    #expect(try await running.http.get("/v1/orders/one").status == 503)
    #expect(try await database.query("select count(*) from projections.workers").value(Int.self) == 0)
    #expect(try await database.query("select count(*) from event_store.leases").value(Int.self) == 0)

    try await database.execute(Self.undo)
    try await eventually("it ends, to start anew") { !running.process.isRunning }
    try await system.startReady(service)
  }

  @Test("A process that has become too old ends, and an older migrate fails", .freshVirtualHost, .freshDatabase())
  func overtaken() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let queries = try await system.startReady(.queryService)
    let database = try await FreshDatabase.current.connect()
    try await database.execute(Self.leaveBehind)
    for service in [commands, queries] {
      try await eventually("it ends") { !service.process.isRunning }
      #expect(service.process.output.contains("Deploy version 9.1.0"), "\(service.process.output)")
    }
    let migrate = try system.run("counterflow", ["migrate"])
    #expect(try await migrate.wait() != 0)
    #expect(migrate.output.contains("Deploy version 9.1.0"), "\(migrate.output)")
    let status = try system.run("counterflow", ["status"])
    #expect(try await status.wait() == 1)
    #expect(status.output.contains("Deploy version 9.1.0") && status.output.contains("9.0.0"), "\(status.output)")
  }

  @Test("A migrate that is too old for one store changes neither", .freshDatabase())
  func refusedWhole() async throws {
    let system = System()
    try await system.migrate()
    let database = try await FreshDatabase.current.connect()
    // The log of erasures is in the read store, which is migrated last.
    try await database.execute(
      """
      update public.counterflow_schemas set version = 1000, program = '9.1.0', oldest_version = 999, oldest_program = '9.0.0'
      where schema = 'erasures'
      """)
    // Each migration records itself again.
    try await database.execute("delete from public.counterflow_schemas where schema <> 'erasures'")
    let migrate = try system.run("counterflow", ["migrate"])
    #expect(try await migrate.wait() != 0)
    #expect(migrate.output.contains("Deploy version 9.1.0"), "\(migrate.output)")
    #expect(try await database.query("select count(*) from public.counterflow_schemas").value(Int.self) == 1)
    let status = try system.run("counterflow", ["status"])
    #expect(try await status.wait() == 1)
    #expect(status.output.contains("Deploy version 9.1.0"), "\(status.output)")
  }

  @Test("A service that is too new for the schema is not ready until it is migrated", .freshDatabase())
  func early() async throws {
    let system = System()
    let commands = try await system.start(.commandService)
    let answer = try await commands.http.get("/readyz", until: 503)
    #expect(commands.process.isRunning, "\(answer.text)")
    try await system.migrate()
    try await commands.becomesReady()
  }
}
