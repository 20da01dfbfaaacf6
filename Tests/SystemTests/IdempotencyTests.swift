import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Idempotency and conditions over HTTP", .tags(.system), .needsServers)
struct IdempotencyTests {
  private static let lantern: JSON = [
    "sku": "LANTERN", "name": "Metal lantern", "unitPrice": 339, "tracksStock": false,
  ]

  private func start() async throws -> (System, RunningService) {
    let system = System()
    try await system.migrate()
    return (system, try await system.startReady(.commandService))
  }

  private func send(
    _ service: RunningService, _ method: String, _ path: String, _ body: JSON?, key: String? = nil,
    headers: [String: String] = [:]
  ) async throws -> HTTPAnswer {
    var headers = headers
    headers["Idempotency-Key"] = key
    return try await service.http.send(method, path, body: body?.encoded, headers: headers)
  }

  /// All parts of a response that a client can compare.
  private func whole(_ answer: HTTPAnswer) -> [String] {
    ["\(answer.status)", answer.text]
      + ["location", "etag", "idempotency-key", "content-type"].map { answer.headers[$0] ?? "-" }
  }

  @Test("Every replica answers a key with the same bytes, also after all have restarted", .freshStores)
  func repeats() async throws {
    let (system, first) = try await start()
    let second = try await system.startReady(.commandService)
    _ = try await send(first, "POST", "/v1/products", Self.lantern)
    // Without an orderId the service chooses one, and the repeat must not choose another.
    let order: JSON = ["lines": [["sku": "LANTERN", "quantity": 2]]]
    let placed = try await send(first, "POST", "/v1/orders", order, key: "k-1")
    #expect(placed.status == 201 && placed.headers["etag"] == "\"1\"" && placed.headers["idempotency-key"] == "k-1")
    #expect(whole(try await send(second, "POST", "/v1/orders", order, key: "k-1")) == whole(placed))
    #expect(whole(try await send(second, "POST", "/v1/orders", order, key: "\"k-1\"")) == whole(placed))
    // Ten at once through both replicas.
    let answers = try await withThrowingTaskGroup(of: [String].self) { group in
      for n in 0..<10 {
        group.addTask { whole(try await send(n % 2 == 0 ? first : second, "POST", "/v1/orders", order, key: "k-2")) }
      }
      return try await group.reduce(into: Set()) { $0.insert($1) }
    }
    #expect(answers.count == 1)
    for service in [first, second] {
      service.process.signal(SIGKILL)
      try await service.process.wait()
    }
    let third = try await system.startReady(.commandService)
    // The product is discontinued now. A new order is rejected, but the repeat gets its first response.
    _ = try await send(third, "DELETE", "/v1/products/LANTERN", nil)
    #expect(whole(try await send(third, "POST", "/v1/orders", order, key: "k-1")) == whole(placed))
    #expect(try await send(third, "POST", "/v1/orders", order, key: "k-3").problem == "product-not-on-sale")

    let connection = try await FreshDatabase.current.connect()
    let placedCount = try await connection.query(
      "select count(*) from event_store.events where type = 'OrderPlaced'"
    ).value(Int.self)
    #expect(placedCount == 2)
  }

  @Test(
    "A key with another request is rejected, and a request without a key gets a generated one", .freshStores)
  func reuse() async throws {
    let (_, service) = try await start()
    let answer = try await send(service, "POST", "/v1/products", Self.lantern)
    let key = try #require(answer.headers["idempotency-key"])
    #expect(whole(try await send(service, "POST", "/v1/products", Self.lantern, key: key)) == whole(answer))
    let other: JSON = ["sku": "BOTTLE", "name": "Bottle", "unitPrice": 1, "tracksStock": false]
    let refused = try await send(service, "POST", "/v1/products", other, key: key)
    #expect(refused.status == 422 && refused.problem == "idempotency-key-reused")
    #expect(try await send(service, "PUT", "/v1/products/LANTERN/price", ["unitPrice": 1], key: key).status == 422)
    // A rejection is not stored: the same key is decided again.
    let order: JSON = ["lines": [["sku": "BOTTLE", "quantity": 1]]]
    #expect(try await send(service, "POST", "/v1/orders", order, key: "again").status == 422)
    _ = try await send(service, "POST", "/v1/products", other)
    #expect(try await send(service, "POST", "/v1/orders", order, key: "again").status == 201)
    for bad in ["", "\"\"", "with space", String(repeating: "k", count: 256)] {
      let answer = try await send(service, "POST", "/v1/products", other, key: bad)
      #expect(bad.isEmpty ? answer.status == 409 || answer.status == 400 : answer.problem == "invalid-header", "\(bad)")
    }
  }

  @Test("If-Match makes a command conditional", .freshStores)
  func conditions() async throws {
    let (_, service) = try await start()
    let registered = try await send(service, "POST", "/v1/products", Self.lantern)
    let tag = try #require(registered.headers["etag"])
    let path = "/v1/products/LANTERN/price"
    let changed = try await send(service, "PUT", path, ["unitPrice": 299], headers: ["If-Match": tag])
    #expect(changed.status == 200 && changed.headers["etag"] == "\"2\"" && changed.json["changed"] == true)
    let refused = try await send(service, "PUT", path, ["unitPrice": 199], headers: ["If-Match": tag])
    #expect(refused.status == 412 && refused.problem == "precondition-failed" && refused.json["currentVersion"] == 2)
    #expect(
      try await send(service, "PUT", path, ["unitPrice": 199], headers: ["If-Match": "\"1\", \"2\""]).status == 200)
    for bad in ["2", "W/\"2\"", "\"x\"", "\"3\", *", "\"3\","] {
      #expect(
        try await send(service, "PUT", path, ["unitPrice": 1], headers: ["If-Match": bad]).problem == "invalid-header")
    }
    let empty = "DELETE /v1/products/LANTERN HTTP/1.1\r\nHost: a\r\nIf-Match:\r\n\r\n"
    #expect(try await service.http.raw(empty).hasPrefix("HTTP/1.1 400"))
    #expect(try await send(service, "POST", "/v1/products", Self.lantern, headers: ["If-Match": "\"1\""]).status == 400)
    // "*" matches any existing version; the ETag of a query works too.
    #expect(try await send(service, "PUT", path, ["unitPrice": 99], headers: ["If-Match": "*"]).status == 200)
    let missing = try await send(
      service, "PUT", "/v1/products/NONE/price", ["unitPrice": 1], headers: ["If-Match": "*"])
    #expect(missing.status == 412 && missing.problem == "precondition-failed" && missing.json["currentVersion"] == 0)
    let ofQuery = ["If-Match": "\"4-Zm9vYmFy_-aa\""]
    #expect(try await send(service, "DELETE", "/v1/products/LANTERN", nil, headers: ofQuery).status == 200)
  }

  @Test("An event's metadata records the correlation, the cause and the trace", .freshStores)
  func metadata() async throws {
    let (_, service) = try await start()
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    _ = try await send(
      service, "POST", "/v1/products", Self.lantern, key: "k",
      headers: ["traceparent": parent, "X-Correlation-Id": "c-1"])
    let connection = try await FreshDatabase.current.connect()
    let metadata = try await connection.query("select metadata from event_store.events").value(String.self)
    #expect(metadata == #"{"correlationId":"c-1","causationId":"k","traceparent":"\#(parent)"}"#)
  }

  @Test("A service exits at the start if the server does not keep what it confirms", .freshStores)
  func unsafeServer() async throws {
    let system = System()
    try await system.migrate()
    let connection = try await FreshDatabase.current.connect()
    try await connection.execute("alter database \(FreshDatabase.current.name) set synchronous_commit = off")
    let service = try system.run("command-service", settings: ["HTTP_PORT": "0"])
    #expect(try await service.wait() == 1)
    #expect(service.output.contains("synchronous_commit"))
  }

  @Test("counterflow restore-finished accepts a restored store with a new history id", .freshStores)
  func restoreFinished() async throws {
    let (system, service) = try await start()
    _ = try await send(service, "POST", "/v1/products", Self.lantern)
    let owner = try await FreshDatabase.current.connect()
    try await owner.query("update event_store.identity set system_identifier = system_identifier + 1")
    service.process.signal(SIGKILL)
    try await service.process.wait()
    let again = try await system.start(.commandService)
    let refused = try await send(again, "POST", "/v1/products", ["sku": "BOTTLE", "name": "B", "unitPrice": 1])
    #expect(refused.status == 503)
    #expect(await again.isReady() == false)
    let finished = try system.run("counterflow", ["restore-finished"])
    #expect(try await finished.wait() == 0, "\(finished.output)")
    try await again.becomesReady()
    #expect(
      try await send(again, "POST", "/v1/products", ["sku": "BOTTLE", "name": "B", "unitPrice": 1]).status == 201)
  }
}
