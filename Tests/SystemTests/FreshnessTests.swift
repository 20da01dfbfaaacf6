import EventSourcing
import Foundation
import HTTPKit
import JSON
import Postgres
import SettingsKit
import TestSupport
import Testing

@Suite("Read your writes", .tags(.system), .needsServers)
struct FreshnessTests {
  private static let lantern: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]

  private struct Shop {
    let system: System
    let commands: RunningService
    let queries: RunningService

    init(settings: [String: String] = [:]) async throws {
      system = System(settings: settings)
      try await system.migrate()
      commands = try await system.startReady(.commandService)
      queries = try await system.startReady(.queryService)
    }

    func get(_ path: String, _ token: String?, wait: Int? = nil, _ more: [String: String] = [:]) async throws
      -> HTTPAnswer
    {
      var headers = more
      if let token { headers["Consistency-Token"] = token }
      if let wait { headers["Prefer"] = "respond-async, wait=\(wait)" }
      return try await queries.http.send("GET", path, headers: headers)
    }

    func order(_ id: String, customer: String = "ada") async throws -> HTTPAnswer {
      try await commands.http.post(
        "/v1/orders",
        ["orderId": .string(id), "customerId": .string(customer), "lines": [["sku": "LANTERN", "quantity": 1]]])
    }
  }

  @Test(
    "With a token, rows, lists and totals show the write, and without one they state their age",
    .freshStores,
    .freshVirtualHost, arguments: ["0", "8"])
  func readYourWrites(cacheSize: String) async throws {
    let shop = try await Shop(settings: ["QUERY_CACHE_MB": cacheSize])
    try await shop.system.startReady([.relay, .projector])
    let registered = try await shop.commands.http.post("/v1/products", Self.lantern)
    let product = try await shop.get("/v1/products/LANTERN", registered.headers["consistency-token"], wait: 30)
    #expect(product.status == 200 && product.headers["preference-applied"] == "wait=30")
    for index in 1...20 {
      let placed = try await shop.order("o-\(index)")
      let token = try #require(placed.headers["consistency-token"])
      let order = try await shop.get("/v1/orders/o-\(index)", token, wait: 30)
      #expect(order.status == 200)
      #expect(Int64(order.headers["read-position"] ?? "")! >= placed.json["position"]!.integer!)
      let list = try await shop.get("/v1/customers/ada/orders?limit=100", token, wait: 30)
      #expect(list.json["items"]?.array?.count == index)
      let sales = try await shop.get("/v1/sales?interval=year", token, wait: 30)
      #expect(sales.json["items"]?[0]?["orders"] == .integer(Int64(index)))
      let sold = try await shop.get("/v1/products/LANTERN", token, wait: 30)
      #expect(sold.json["unitsSold"] == .integer(Int64(index)))
    }
    // A row that was read often is read again once it has changed.
    for _ in 0..<5 { #expect(try await shop.get("/v1/orders/o-2", nil).json["status"] == "placed") }
    let settled = try await shop.commands.http.post("/v1/orders/o-2/payment", ["amount": 300])
    let fresh = try await shop.get("/v1/orders/o-2", settled.headers["consistency-token"], wait: 30)
    #expect(fresh.json["status"] == "paid")
    for _ in 0..<5 { _ = try await shop.get("/v1/orders/o-3", nil) }
    #expect(try await shop.commands.http.post("/v1/orders/o-3/cancellation", [:]).status == 200)
    try await eventually("it is seen without a token too") {
      try await shop.get("/v1/orders/o-3", nil).json["status"] == "cancelled"
    }
    // A command without effect and a repeated command give valid tokens too.
    let paid = try await shop.commands.http.post("/v1/orders/o-1/payment", ["amount": 300])
    let again = try await shop.commands.http.post("/v1/orders/o-1/payment", ["amount": 300])
    #expect(again.json["changed"] == false)
    for token in [paid, again].map({ $0.headers["consistency-token"] }) {
      #expect(try await shop.get("/v1/orders/o-1", token, wait: 30).json["status"] == "paid")
    }
    let key = ["Idempotency-Key": "k"]
    let body = (["sku": "LAMP", "name": "Lamp", "unitPrice": 1] as JSON).encoded
    let first = try await shop.commands.http.send("POST", "/v1/products", body: body, headers: key)
    let second = try await shop.commands.http.send("POST", "/v1/products", body: body, headers: key)
    #expect(first.status == 201 && first.headers["consistency-token"] == second.headers["consistency-token"])
    // After a moment responses are up to date and say so: a small lag, up to the last event.
    let head = try #require(first.json["position"]?.integer)
    try await eventually("an answer is up to date") {
      let answer = try await shop.get("/v1/orders", nil)
      return Int64(answer.headers["read-position"] ?? "")! >= head && Int(answer.headers["read-lag-ms"] ?? "")! < 10_000
    }
  }

  @Test("A query whose token is not reached in time gets 503 after the requested wait, also for a list", .freshStores)
  func late() async throws {
    let shop = try await Shop()
    let registered = try await shop.commands.http.post("/v1/products", Self.lantern)
    let token = try #require(registered.headers["consistency-token"])
    // No projector runs.
    for path in ["/v1/products/LANTERN", "/v1/products", "/v1/sales"] {
      let answer = try await shop.get(path, token, wait: 0)
      #expect(
        answer.status == 503 && answer.problem == "not-caught-up" && answer.headers["retry-after"] == "1", "\(path)")
    }
    #expect(try await shop.get("/v1/products/LANTERN", token).problem == "not-caught-up")
    // A query for other rows does not wait for the token.
    #expect(try await shop.get("/v1/orders/unknown", token, wait: 0).status == 404)
    #expect(try await shop.get("/v1/products/LANTERN", nil).status == 404)
  }

  @Test("Malformed tokens, and tokens of another key or history, are rejected", .freshStores)
  func tokens() async throws {
    let shop = try await Shop()
    let registered = try await shop.commands.http.post("/v1/products", Self.lantern)
    let token = try #require(registered.headers["consistency-token"])
    var changed = Array(token.utf8)
    changed[30] = changed[30] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
    let foreign = ConsistencyToken(historyID: UUID(), entries: [])
    for wrong in [
      "x", "AAAA", String(decoding: changed, as: UTF8.self), String(token.dropLast(4)), token + "AAAA", token + "=",
      foreign.signed(with: .init(Array(repeating: 7, count: 32))), String(repeating: "A", count: 12_000),
    ] {
      let answer = try await shop.get("/v1/products/LANTERN", wrong, wait: 0)
      #expect(answer.status == 400 && answer.problem == "invalid-header", "\(wrong.prefix(60)): \(answer.text)")
    }
    let own = ConsistencyToken.Key("only-for-tests-only-for-tests-only-for-tests".utf8)
    try await eventually("the history is known") {
      try await shop.get("/v1/products/LANTERN", foreign.signed(with: own), wait: 0).problem
        == "token-of-another-history"
    }
    let owner = try await FreshDatabase.current.connect()
    try await owner.query("update event_store.identity set history_id = gen_random_uuid()")
    try await eventually("the other history is known") {
      try await shop.get("/v1/products/LANTERN", token, wait: 0).status == 409
    }
  }

  @Test("A query with the token of a parked stream fails at once", .freshStores, .freshVirtualHost)
  func parked() async throws {
    let shop = try await Shop()
    try await shop.system.startReady([.relay, .projector])
    let registered = try await shop.commands.http.post("/v1/products", Self.lantern)
    #expect(try await shop.get("/v1/products/LANTERN", registered.headers["consistency-token"], wait: 30).status == 200)
    let owner = try await FreshDatabase.readStore.connect()
    try await owner.execute("alter table read_models.orders_g1 add constraint refuse check (key <> 'poison')")
    let placed = try await shop.order("poison")
    let token = try #require(placed.headers["consistency-token"])
    let answer = try await shop.get("/v1/orders/poison", token, wait: 30)
    #expect(answer.status == 503 && answer.problem == "stream-parked" && answer.headers["retry-after"] == "60")
    #expect(try await shop.get("/v1/orders", token, wait: 30).problem == "stream-parked")
    // Other streams continue.
    let other = try await shop.order("fine")
    #expect(try await shop.get("/v1/orders/fine", other.headers["consistency-token"], wait: 30).status == 200)
    #expect(try await shop.get("/v1/products/LANTERN", token, wait: 30).status == 200)
    // Read-Position stops before the parked event for its own row, and for lists that may lack it.
    let position = try #require(placed.json["position"]?.integer)
    func shown(_ path: String) async throws -> Int64? {
      Int64(try await shop.get(path, nil, wait: nil).headers["read-position"] ?? "")
    }
    try await eventually("what does not wait has come further") { try await shown("/v1/products") ?? 0 >= position }
    for path in ["/v1/orders/poison", "/v1/orders"] {
      try await eventually("\(path) is known up to what waits") { try await shown(path) == position - 1 }
      #expect(try await shown(path) == position - 1)
    }
  }

  @Test(
    "A response has an ETag, which works in If-None-Match (304) and in the If-Match of a command", .freshStores,
    .freshVirtualHost)
  func tags() async throws {
    let shop = try await Shop()
    try await shop.system.startReady([.relay, .projector])
    let registered = try await shop.commands.http.post("/v1/products", Self.lantern)
    let product = try await shop.get("/v1/products/LANTERN", registered.headers["consistency-token"], wait: 30)
    let tag = try #require(product.headers["etag"])
    #expect(tag.hasPrefix("\"1-"))
    for given in [tag, "W/\(tag)", "\"x\", \(tag)", "*"] {
      let answer = try await shop.get("/v1/products/LANTERN", nil, ["If-None-Match": given])
      #expect(answer.status == 304 && answer.body.isEmpty && answer.headers["etag"] == tag)
      #expect(answer.headers["read-position"] != nil)
    }
    #expect(try await shop.get("/v1/products/LANTERN", nil, ["If-None-Match": "\"x\""]).status == 200)
    let list = try await shop.get("/v1/products", nil)
    #expect(try await shop.get("/v1/products", nil, ["If-None-Match": list.headers["etag"]!]).status == 304)
    let price = (["unitPrice": 299] as JSON).encoded
    let changed = try await shop.commands.http.send(
      "PUT", "/v1/products/LANTERN/price", body: price, headers: ["If-Match": tag])
    #expect(changed.status == 200)
    #expect(
      try await shop.commands.http.send(
        "PUT", "/v1/products/LANTERN/price", body: price, headers: ["If-Match": tag, "Idempotency-Key": "k"]
      ).status == 412)
    let token = changed.headers["consistency-token"]
    let now = try await shop.get("/v1/products/LANTERN", token, wait: 30, ["If-None-Match": tag])
    #expect(now.status == 200 && now.headers["etag"] != tag && now.json["unitPrice"] == 299)
    #expect(try await shop.get("/v1/products", nil, ["If-None-Match": list.headers["etag"]!]).status == 200)
  }

  @Test(
    "Reads spread over the hosts of the read store, without unreachable ones", .freshStores, .freshVirtualHost
  )
  func hosts() async throws {
    // One unreachable host, and the same server under two names.
    let url = FreshDatabase.readStore.url
    let host = try #require(URLComponents(string: url)?.host)
    let port = try #require(URLComponents(string: url)?.port)
    let several = url.replacing("@\(host):\(port)/", with: "@127.0.0.1:1,\(host):\(port),localhost:\(port)/")
    let shop = try await Shop()
    try await shop.system.startReady([.relay, .projector])
    var components = try #require(URLComponents(string: url))
    (components.user, components.password) = ("counterflow_query", "only-for-tests")
    let many = try #require(components.string).replacing(
      "@\(host):\(port)/", with: "@127.0.0.1:1,\(host):\(port),localhost:\(port)/")
    #expect(several.contains(","))
    let queries = try await shop.system.startReady(.queryService, settings: ["READ_DATABASE_URL": many])
    let registered = try await shop.commands.http.post("/v1/products", Self.lantern)
    let headers = ["Consistency-Token": registered.headers["consistency-token"]!, "Prefer": "wait=30"]
    for _ in 0..<10 {
      #expect(try await queries.http.send("GET", "/v1/products/LANTERN", headers: headers).status == 200)
      let list = try await queries.http.get("/v1/products")
      #expect(list.status == 200, "\(list.text)")
    }
  }
}

@Suite("Consistency tokens")
struct ConsistencyTokenTests {
  @Test("A token survives a round trip, but only with its own key")
  func roundTrip() throws {
    let key = ConsistencyToken.Key(Array(repeating: 1, count: 32))
    for count in [0, 1, 2, 102] {
      let token = ConsistencyToken(
        historyID: UUID(),
        entries: (0..<count).map {
          .init(stream: StreamID(rawValue: "thing-\($0)").wideHash, position: Position(Int64($0) << 40))
        })
      let text = token.signed(with: key)
      #expect(try ConsistencyToken(text, signedWith: key) == token)
      #expect(text.utf8.allSatisfy { (0x2D...0x7A).contains($0) })
      #expect(throws: ConsistencyToken.Malformed.self) {
        try ConsistencyToken(text, signedWith: .init(Array(repeating: 2, count: 32)))
      }
      for index in stride(from: 0, to: text.utf8.count - 1, by: 3) {
        var bytes = Array(text.utf8)
        bytes[index] = bytes[index] == 0x41 ? 0x42 : 0x41
        #expect(throws: ConsistencyToken.Malformed.self) {
          try ConsistencyToken(String(decoding: bytes, as: UTF8.self), signedWith: key)
        }
      }
    }
  }

  @Test("The hosts of a URL are split into one URL each")
  func hosts() {
    #expect(
      PostgresConfiguration.urlsOfEachHost("postgres://u:p@a:1,[::1]:2,c/d?sslmode=require")
        == [
          "postgres://u:p@a:1/d?sslmode=require", "postgres://u:p@[::1]:2/d?sslmode=require",
          "postgres://u:p@c/d?sslmode=require",
        ])
    #expect(PostgresConfiguration.urlsOfEachHost("postgres://u:p,q@a/d") == ["postgres://u:p,q@a/d"])
    #expect(PostgresConfiguration.urlsOfEachHost("postgres:///d?host=a,b") == ["postgres:///d?host=a,b"])
  }
}
