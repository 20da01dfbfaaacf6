import Foundation
import JSON
import TestSupport
import Testing

@Suite("All processes behind PgBouncer", .tags(.system), .needsServers)
struct PoolerSystemTests {
  /// The URLs of both stores, through a pooler.
  private func stores(_ mode: String) async throws -> (write: String, read: String) {
    let pooler = try PrivateServer(
      .pgbouncer,
      settings: ["POOLED_URL": TestEnvironment.postgresURL, "POOL_MODE": mode, "ROLES_PASSWORD": "only-for-tests"])
    let url = try await pooler.url()
    func pooled(_ database: FreshDatabase) throws -> String {
      var components = try #require(URLComponents(string: url))
      components.path = "/" + database.name
      return try #require(components.string)
    }
    return (try pooled(FreshDatabase.current), try pooled(FreshDatabase.readStore))
  }

  @Test("With a pooler of sessions everything works", .freshStores, .freshVirtualHost)
  func sessions() async throws {
    let (write, read) = try await stores("session")
    let system = System(writeURL: write, readURL: read)
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    try await system.startReady([.relay, .projector, .reactor])
    let queries = try await system.startReady(.queryService)
    #expect(
      try await commands.http.post(
        "/v1/products", ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]
      ).status == 201)
    let ids = (0..<20).map { "o-\($0)" }
    for id in ids {
      let order: JSON = ["orderId": .string(id), "lines": [["sku": "LANTERN", "quantity": 1]]]
      #expect(try await commands.http.post("/v1/orders", order).status == 201)
    }
    for id in ids { #expect(try await queries.http.get("/v1/orders/\(id)", until: 200).json["total"] == 300) }
    #expect(
      try await queries.http.get("/v1/products?q=lantern", until: 200).json["items"]?[0]?["sku"] == "LANTERN")
    try await eventually("the status is sound") { try await system.run("counterflow", ["status"]).wait() == 0 }
    let verified = try system.run("counterflow", ["verify"])
    #expect(try await verified.wait() == 0, "\(verified.output)")
  }

  @Test(
    "With a pooler of transactions no process becomes ready, and each says what to change", .freshStores,
    .freshVirtualHost)
  func transactions() async throws {
    let direct = System()
    try await direct.migrate()
    let (write, read) = try await stores("transaction")
    let system = System(writeURL: write, readURL: read)
    for service in System.Service.allCases {
      let running = try await system.start(service)
      try await eventually("\(service) says what to change") {
        let status = try await running.http.get("/readyz").status
        return status == 503 && running.process.output.contains("pool_mode = session")
      }
    }
    let status = try system.run("counterflow", ["status"])
    #expect(try await status.wait() != 0)
    #expect(status.output.contains("pool_mode = session"), "\(status.output)")
  }
}
