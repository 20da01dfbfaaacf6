import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Advice for an autoscaler", .tags(.system), .needsServers)
struct ScaleTests {
  @Test(
    "A read model that is behind asks for more projectors", .freshVirtualHost,
    .freshStores)
  func lagging() async throws {
    let system = System(settings: ["METRICS_TOKEN": "only-for-tests"])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    var queries = try await system.startReady(.queryService).http
    #expect(try await queries.get("/scale").status == 401)
    queries.headers["Authorization"] = "Bearer only-for-tests"
    func advice(_ service: String) async throws -> JSON {
      try await queries.get("/scale", until: 200).json["services"]?[service] ?? .null
    }
    #expect(try await advice("projector")["reason"]?.string == "no process runs")
    try await system.startReady([.projector, .projector, .relay, .reactor])
    _ = try await commands.http.post(
      "/v1/products", ["sku": "LANTERN", "name": "Metal lantern", "unitPrice": 339, "tracksStock": false])
    _ = try await queries.get("/v1/products/LANTERN", until: 200)
    for service in ["relay", "reactor"] {
      try await eventually("one \(service) runs") { try await advice(service)["current"]?.integer == 1 }
      #expect(try await advice(service)["replicas"]?.integer == 1)
    }
    try await eventually("two projectors run") { try await advice("projector")["current"]?.integer == 2 }
    let calm = try await advice("projector")
    #expect(calm["limit"]?.integer == 16 && calm["replicas"]?.integer ?? 0 <= 2, "\(calm)")

    // Nobody can apply the next event, which is an hour old.
    let readStore = try await FreshDatabase.readStore.connect()
    try await readStore.execute("begin; lock table projections.checkpoints in exclusive mode")
    _ = try await commands.http.post("/v1/orders", ["orderId": "o", "lines": [["sku": "LANTERN", "quantity": 1]]])
    let writeStore = try await FreshDatabase.current.connect()
    // Its triggers keep events as they are.
    try await writeStore.execute("set session_replication_role = replica")
    try await writeStore.execute(
      "update event_store.events set recorded_at = recorded_at - interval '1 hour' where stream = 'order-o'")
    try await eventually("it asks for four") { try await advice("projector")["replicas"]?.integer == 4 }
    #expect(try await advice("projector")["reason"]?.string?.contains("more are needed") == true)

    try await readStore.execute("rollback")
    _ = try await queries.get("/v1/orders/o", until: 200)
    #expect(try await advice("projector")["replicas"]?.integer == 4, "it does not fall at once")
  }
}
