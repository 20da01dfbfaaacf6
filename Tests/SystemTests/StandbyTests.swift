import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("A standby of the read store", .tags(.system), .needsServers)
struct StandbyTests {
  @Test("A token is honoured with a lagging standby, and reads continue without the primary", .freshVirtualHost)
  func lagging() async throws {
    let primary = try PrivateServer(.postgres)
    let url = try await primary.url()
    let owner = PostgresPool(
      PostgresConfiguration(url: url), limits: .init(size: 2, acquireTimeout: .seconds(100)), logger: .quiet)
    try await owner.query("select 1")
    let system = System(writeURL: url)
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    try await system.startReady([.relay, .projector])

    let standby = try PrivateServer(.standby, settings: ["PRIMARY_URL": url])
    let standbyURL = try await standby.url()
    let replica = PostgresPool(
      PostgresConfiguration(url: standbyURL), limits: .init(size: 2, acquireTimeout: .seconds(100)), logger: .quiet)
    #expect(try await replica.query("select pg_is_in_recovery()").value(Bool.self))
    func port(_ url: String) throws -> Int { try #require(URLComponents(string: url)?.port) }
    let both =
      "postgres://counterflow_query:only-for-tests@127.0.0.1:\(try port(url)),127.0.0.1:\(try port(standbyURL))/postgres"
    let alone = "postgres://counterflow_query:only-for-tests@127.0.0.1:\(try port(standbyURL))/postgres"
    let queries = try await system.startReady(.queryService, settings: ["READ_DATABASE_URL": both])
    let behind = try await system.startReady(.queryService, settings: ["READ_DATABASE_URL": alone])

    let product: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]
    #expect(try await commands.http.post("/v1/products", product).status == 201)
    func order(_ id: String) async throws -> [String: String] {
      let placed = try await commands.http.post(
        "/v1/orders", ["orderId": .string(id), "lines": [["sku": "LANTERN", "quantity": 1]]])
      return ["Consistency-Token": try #require(placed.headers["consistency-token"]), "Prefer": "wait=30"]
    }
    let first = try await order("o-0")
    #expect(try await behind.http.send("GET", "/v1/orders/o-0", headers: first).status == 200)

    // The standby stops replaying.
    try await replica.query("select pg_wal_replay_pause()")
    try await eventually("it stands still") {
      try await replica.query("select pg_get_wal_replay_pause_state()").value(String.self) == "paused"
    }
    var last: [String: String] = [:]
    for index in 1...30 {
      last = try await order("o-\(index)")
      #expect(try await queries.http.send("GET", "/v1/orders/o-\(index)", headers: last).status == 200)
      #expect(try await queries.http.send("GET", "/v1/orders", headers: last).json["items"]?[0]?["orderId"] != nil)
    }
    // Without a token either server may answer, and states the age of its data.
    var statuses: Set<Int> = []
    try await eventually("both have answered") {
      statuses.insert(try await queries.http.get("/v1/orders/o-30").status)
      return statuses == [200, 404]
    }
    let now = last.merging(["Prefer": "wait=0"]) { $1 }
    #expect(try await behind.http.send("GET", "/v1/orders/o-30", headers: now).problem == "not-caught-up")

    async let waited = behind.http.send("GET", "/v1/orders/o-30", headers: last)
    try await replica.query("select pg_wal_replay_resume()")
    #expect(try await waited.status == 200)

    // The primary dies. Reads continue, and a read with a token succeeds in time.
    primary.process.signal(SIGKILL)
    try await primary.process.wait()
    try await eventually("the standby answers alone") {
      var statuses: Set<Int> = []
      for _ in 0..<5 { statuses.insert(try await queries.http.get("/v1/orders/o-30").status) }
      return statuses == [200]
    }
    #expect(try await queries.http.send("GET", "/v1/orders/o-30", headers: last).status == 200)
  }
}
