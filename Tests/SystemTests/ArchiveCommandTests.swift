import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("counterflow archive", .tags(.system), .needsServers)
struct ArchiveCommandTests {
  @Test(
    "Old events move to files, commands and queries go on, and a rebuild works once they are attached again",
    .freshStores,
    .freshVirtualHost)
  func archive() async throws {
    let system = System(settings: ["PROJECTION_HALT_RETRY": "1"])
    try await system.migrate()
    let writeStore = try await FreshDatabase.current.connect()
    try await writeStore.execute(
      """
      update event_store.identity set partition_size = 10;
      alter table event_store.events detach partition event_store.events_1;
      drop table event_store.events_1;
      delete from event_store.partitions;
      select event_store.add_partition();
      """)
    let commands = try await system.startReady(.commandService)
    let queries = try await system.startReady(.queryService)
    for service in [System.Service.relay, .projector, .reactor] { try await system.startReady(service) }
    _ = try await commands.http.post("/v1/customers", ["customerId": "ada", "name": "Ada", "country": "France"])
    _ = try await commands.http.post(
      "/v1/products", ["sku": "LANTERN", "name": "Metal lantern", "unitPrice": 339, "tracksStock": false])
    for n in 0..<24 {
      let answer = try await commands.http.post(
        "/v1/orders",
        ["orderId": .string("o-\(n)"), "customerId": "ada", "lines": [["sku": "LANTERN", "quantity": 2]]])
      #expect(answer.status == 201)
    }
    for n in 0..<24 { _ = try await queries.http.get("/v1/orders/o-\(n)", until: 200) }
    let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("archive"))
    func counterflow(_ arguments: String...) async throws -> (status: Int32, output: String) {
      let process = try system.run("counterflow", arguments)
      return (try await process.wait(), process.output)
    }
    func archive(_ more: String...) throws -> ChildProcess {
      try system.run("counterflow", ["archive", "--before", "2999-01-01T00:00:00Z", "--to", folder.path] + more)
    }

    let missing = try archive()
    #expect(try await missing.wait() != 0 && missing.output.contains("there is no folder"), "\(missing.output)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let early = try await counterflow("archive", "--before", "2000-01-01T00:00:00Z", "--to", folder.path)
    #expect(early.status == 0 && early.output.contains("No whole partition"), "\(early.output)")
    try await eventually("every projection has passed the first events") {
      let dry = try archive("--dry-run")
      return try await dry.wait() == 0 && dry.output.contains("Positions 1 to 10 would be archived")
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
    let killed = try archive()
    try await eventually("it has begun to write") {
      try !FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty
    }
    killed.signal(SIGKILL)
    _ = try await killed.wait()
    try await eventually("two partitions are archived") {
      let again = try archive()
      let position = try await writeStore.query("select event_store.archived_position()").value(Int64.self)
      return try await again.wait() == 0 && position == 20
    }

    // A replica without states in memory decides on snapshots.
    let replica = try await system.startReady(.commandService)
    let paid = try await replica.http.post("/v1/orders/o-1/payment", ["amount": 678])
    #expect([200, 201].contains(paid.status), "\(paid)")
    let twice = try await replica.http.post(
      "/v1/orders", ["orderId": "o-2", "customerId": "ada", "lines": [["sku": "LANTERN", "quantity": 2]]])
    #expect(twice.status == 409, "\(twice)")
    let history = try await queries.http.get("/v1/orders/o-1/history")
    #expect(history.status == 503 && history.problem == "events-archived", "\(history)")
    let sentence = "events up to 20 are archived; run `counterflow archive --attach 1`"
    let rebuild = try await counterflow("rebuild", "orders")
    #expect(rebuild.status != 0 && rebuild.output.contains(sentence), "\(rebuild.output)")
    let verify = try await counterflow("verify", "orders")
    #expect(verify.status == 1 && verify.output.contains(sentence), "\(verify.output)")
    let status = try await counterflow("status")
    #expect(status.output.contains("The events up to position 20 are archived."), "\(status.output)")
    let json = try JSON(parsing: Array(try await counterflow("status", "--json").output.utf8))
    #expect(json["sizes"]?["archivedPosition"]?.integer == 20)
    #expect(json["sizes"]?["eventsPerDay"]?.integer ?? 0 > 0 && json["sizes"]?["eventsBytesPerDay"]?.integer ?? 0 > 0)

    let attach = try await counterflow("archive", "--attach", "1")
    #expect(
      attach.status == 0 && attach.output.contains("Positions 1 to 10 are in the store again"), "\(attach.output)")
    let rebuilt = try await counterflow("rebuild", "orders", "--only-if-equal")
    #expect(rebuilt.status == 0, "\(rebuilt.output)")
    let verified = try await counterflow("verify")
    #expect(verified.status == 0, "\(verified.output)")
    #expect(try await queries.http.get("/v1/orders/o-1/history").status == 200)
  }
}
