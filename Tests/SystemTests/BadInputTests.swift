import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Bad input", .tags(.system), .needsServers)
struct BadInputTests {
  @Test(
    "Each bad request gets a specific problem, nothing is stored, and the process keeps running", .freshStores,
    .freshVirtualHost)
  func badInput() async throws {
    let system = System()
    try await system.migrate()
    let service = try await system.startReady(.commandService)
    let queries = try await system.startReady(.queryService)
    let http = service.http
    for product in ["LANTERN", "GONE", "DEAR"] {
      let price: JSON = product == "DEAR" ? 1_000_000_000_000 : 339
      #expect(
        try await http.post(
          "/v1/products", ["sku": .string(product), "name": "n", "unitPrice": price, "tracksStock": false]
        ).status == 201)
    }
    #expect(try await http.send("DELETE", "/v1/products/GONE").json["changed"] == true)
    #expect(try await http.send("DELETE", "/v1/products/GONE").json["changed"] == false)
    let line: JSON = ["sku": "LANTERN", "quantity": 1]
    #expect(try await http.post("/v1/orders", ["orderId": "o", "lines": [line]]).status == 201)
    let database = try await FreshDatabase.current.connect()
    let before = try await database.query("select count(*) from event_store.events").value(Int.self)

    func expect(
      _ status: Int, _ problem: String, _ pointers: [String] = [], _ method: String = "POST", _ path: String,
      _ body: [UInt8]? = nil, contentType: String? = "application/json", on target: HTTPProbe? = nil,
      sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      let answer = try await (target ?? http).send(method, path, body: body, contentType: contentType)
      #expect(answer.status == status, "\(answer.text)", sourceLocation: sourceLocation)
      #expect(answer.headers["content-type"] == "application/problem+json", sourceLocation: sourceLocation)
      #expect(answer.problem == problem, "\(answer.text)", sourceLocation: sourceLocation)
      for member in ["title", "detail"] {
        #expect(answer.json[member]?.string?.isEmpty == false, sourceLocation: sourceLocation)
      }
      #expect(answer.json["status"] == .integer(Int64(status)), sourceLocation: sourceLocation)
      let found = answer.json["errors"]?.array?.compactMap { $0["pointer"]?.string }.sorted() ?? []
      #expect(found == pointers, "\(answer.text)", sourceLocation: sourceLocation)
      if status == 405 { #expect(answer.headers["allow"]?.isEmpty == false, sourceLocation: sourceLocation) }
    }
    func order(_ json: JSON) -> [UInt8] { json.encoded }
    let orders = "/v1/orders"

    for text in [
      "", "{", "nonsense", "{\"lines\":[],\"lines\":[]}", "\u{FEFF}{}", String(repeating: "[", count: 10_000),
    ] {
      try await expect(400, "malformed-json", [""], "POST", orders, Array(text.utf8))
    }
    let empty = try await http.send("POST", orders, body: [UInt8]())
    #expect(empty.json["detail"] == "Send one JSON object in UTF-8: the body is empty.", "\(empty.text)")
    try await expect(400, "malformed-json", [""], "POST", orders, [0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D])
    try await expect(422, "invalid-request", [""], "POST", orders, order([]))
    try await expect(422, "invalid-request", ["/lines"], "POST", orders, order([:]))
    try await expect(422, "invalid-request", ["/lines"], "POST", orders, order(["lines": []]))
    try await expect(
      422, "invalid-request", ["/lines"], "POST", orders, order(["lines": .array(Array(repeating: line, count: 101))]))
    for quantity in [0, -1, 1_000_001, .number(1.5), "1", .integer(.max)] as [JSON] {
      try await expect(
        422, "invalid-request", ["/lines/0/quantity"], "POST", orders,
        order(["lines": [["sku": "LANTERN", "quantity": quantity]]]))
    }
    try await expect(
      422, "invalid-request", ["/customer", "/lines/0/qty", "/lines/0/quantity"], "POST", orders,
      order(["customer": "a", "lines": [["sku": "LANTERN", "qty": 1]]]))
    for id in [String(repeating: "x", count: 129), "ü", "a\u{7F}", ""] {
      try await expect(
        422, "invalid-request", ["/customerId", "/orderId"], "POST", orders,
        order(["orderId": .string(id), "customerId": .string(id), "lines": [line]]))
    }
    for price in [0, -1, 1_000_000_000_001, .number(0.5)] as [JSON] {
      try await expect(
        422, "invalid-request", ["/unitPrice"], "POST", "/v1/products",
        order(["sku": "X", "name": "n", "unitPrice": price]))
    }
    try await expect(
      422, "product-not-on-sale", ["/lines/1/sku", "/lines/2/sku"], "POST", orders,
      order(["lines": [line, ["sku": "UNKNOWN", "quantity": 1], ["sku": "GONE", "quantity": 1]]]))
    try await expect(
      422, "total-overflows", ["/lines"], "POST", orders,
      order(["lines": .array(Array(repeating: ["sku": "DEAR", "quantity": 1_000_000], count: 10))]))
    try await expect(413, "body-too-large", [], "POST", orders, Array(repeating: 0x20, count: 256 * 1024 + 1))
    try await expect(
      415, "unsupported-media-type", [], "POST", orders, order(["lines": [line]]), contentType: "text/plain")
    try await expect(404, "not-found", [], "POST", "/v1/nothing", order([:]))
    try await expect(405, "method-not-allowed", [], "PUT", orders, order(["lines": [line]]))
    try await expect(405, "method-not-allowed", [], "DELETE", "/v1/orders/o", on: queries.http)
    // Behind one address, a service also gets requests for the other one.
    try await expect(405, "method-not-allowed", [], "PUT", "/v1/orders/o")
    try await expect(405, "method-not-allowed", [], "PATCH", "/v1/orders", on: queries.http)
    try await expect(404, "not-found", [], "GET", "/v1/orders/o")
    try await expect(409, "order-exists", ["/orderId"], "POST", orders, order(["orderId": "o", "lines": [line]]))
    try await expect(
      409, "product-exists", ["/sku"], "POST", "/v1/products", order(["sku": "lantern", "name": "n", "unitPrice": 1]))
    try await expect(404, "not-found", [], "POST", "/v1/orders/missing/cancellation", order(["reason": "r"]))
    try await expect(404, "not-found", [], "POST", "/v1/orders/%C3%BC/cancellation", order(["reason": "r"]))
    try await expect(404, "not-found", [], "DELETE", "/v1/products/MISSING")
    try await expect(404, "not-found", [], "GET", "/v1/orders/missing", on: queries.http)

    // Raw bytes that no client library sends.
    let missing = try await queries.http.raw(
      "HEAD /v1/orders/missing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    #expect(missing.hasPrefix("HTTP/1.1 404") && missing.hasSuffix("\r\n\r\n"), "\(missing)")
    let chunk =
      "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    #expect(try await http.raw(chunk + "zz\r\n").hasPrefix("HTTP/1.1 400"))
    #expect(
      try await http.raw(chunk + "40001\r\n" + String(repeating: " ", count: 0x40001) + "\r\n0\r\n\r\n").hasPrefix(
        "HTTP/1.1 413"))

    #expect(try await database.query("select count(*) from event_store.events").value(Int.self) == before)
    #expect(try await http.post("/v1/orders", ["orderId": "o2", "lines": [line]]).status == 201)
    #expect(service.process.isRunning && queries.process.isRunning)
  }
}
