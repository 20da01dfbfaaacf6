import Foundation
import JSON
import Postgres
import TestSupport
import Testing

/// The status and problem of each response, in order.
func statuses(_ received: String) -> [String] {
  received.split(separator: "\r\n\r\n").joined(separator: "\r\n").split(separator: /HTTP\/1\.[01]\x20/).map { answer in
    let problem = answer.firstMatch(of: /urn:counterflow:problem:([a-z-]+)/).map { " " + $0.output.1 } ?? ""
    return answer.prefix(3) + problem
  }
}

@Suite("HTTP", .tags(.system), .needsServers)
struct HTTPTests {
  private let order = #"{"lines":[{"sku":"LANTERN","quantity":1}]}"#

  private func post(_ path: String, _ headers: String...) -> String {
    "POST \(path) HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + headers.map { $0 + "\r\n" }.joined()
      + "\r\n"
  }

  private func register(_ http: HTTPProbe) async throws {
    let product: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]
    #expect(try await http.post("/v1/products", product).status == 201)
  }

  @Test("Expect: 100-continue is answered once the head is valid", .freshDatabase())
  func expectation() async throws {
    let system = System()
    try await system.migrate()
    let service = try await system.startReady(.commandService)
    let http = service.http
    try await register(http)
    let waiting = post("/v1/orders", "Expect: 100-continue", "Content-Length: \(order.utf8.count)")
    #expect(statuses(try await http.raw(waiting, order)) == ["100", "201"])
    // It works repeatedly on one connection, after other responses.
    #expect(statuses(try await http.raw(waiting, order + waiting, order)) == ["100", "201", "100", "201"])
    let pipelined = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" + waiting
    #expect(statuses(try await http.raw(pipelined, order)) == ["200", "100", "201"])
    // A head that is rejected gets its response at once and the connection closes, with or without the body.
    let large = post("/v1/orders", "Expect: 100-continue", "Content-Length: 262145")
    #expect(statuses(try await http.raw(large)) == ["413 body-too-large"])
    #expect(statuses(try await http.raw(post("/v1/orders", "Content-Length: 262145"))) == ["413 body-too-large"])
    let wrong = post("/v1/orders", "Expect: 100-continue", "Content-Length: 2").replacing("/json", with: "/xml")
    let refused = try await http.raw(wrong)
    #expect(statuses(refused) == ["415 unsupported-media-type"] && refused.contains("Connection: close"))
    #expect(
      statuses(try await http.raw(post("/v1/orders", "Expect: a", "Content-Length: \(order.utf8.count)") + order)) == [
        "417 unknown-expectation"
      ])
    // Two equal expectations count as one.
    let twice = post(
      "/v1/orders", "Expect: 100-continue", "Expect: 100-Continue", "Content-Length: \(order.utf8.count)")
    #expect(statuses(try await http.raw(twice, order)) == ["100", "201"])
    // There is no body to wait for.
    let empty = "GET /healthz HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"
    #expect(statuses(try await http.raw(empty + empty)) == ["200", "200"])
  }

  @Test("A request that violates HTTP gets a problem that names the violation", .freshDatabase())
  func rules() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let queries = try await system.startReady(.queryService)
    func get(_ target: String, _ headers: String = "Host: a\r\n") -> String {
      "GET \(target) HTTP/1.1\r\n\(headers)\r\n"
    }
    let long = String(repeating: "a", count: 20_000)
    let cases = [
      (get("/healthz", ""), "400 invalid-header"), (get("/healthz", "Host: a\r\nHost: a\r\n"), "400 invalid-header"),
      (get("/healthz", "Host: \r\n"), "400 invalid-header"), (get("/healthz", "Host: a/b\r\n"), "400 invalid-header"),
      (get("/healthz", "Host: a\r\nX: \(long)\r\n"), "431 header-fields-too-large"),
      ("nonsense\r\n\r\n", "400 malformed-request"), (get("/v1/products?q=%zz"), "400 malformed-query"),
      (get("/v1/products?q=%ff"), "400 malformed-query"), (get("/v1/products?%f=1"), "400 malformed-query"),
      (get("/v1/products/%zz"), "400 malformed-path"), (get("/v1/products/%ff"), "400 malformed-path"),
      (get("/v1/products?%6cimit=0"), "400 invalid-parameter"),
      (get("/v1/products?limit=%30"), "400 invalid-parameter"), (get("/v1/products?limit=5"), "200"),
      (get("/v1/products?limit=%2B5"), "400 invalid-parameter"),
      (get("/v1/products?limit=05"), "400 invalid-parameter"),
      (get("/v1/orders/"), "404 not-found"), (get("/v1//orders"), "404 not-found"),
      (get("/v1/changes?types=OrderPlaced,Nope"), "400 invalid-parameter"),
      (get("/v1/orders?country="), "400 invalid-parameter"), (get("/v1/sales?country="), "400 invalid-parameter"),
      (get("/v1/orders?country=%20"), "400 invalid-parameter"),
      (get("/v1/sales?country=%20"), "400 invalid-parameter"), (get("/v1/sales?country=France"), "200"),
      (get("/v1/orders?country=France"), "200"),
    ]
    for (request, expected) in cases {
      #expect(statuses(try await queries.http.raw(request)) == [expected], "\(request.prefix(100))")
    }
    let named = try await queries.http.get("/v1/changes?types=Nope").json["detail"]?.string
    #expect(named?.contains("OrderPlaced, OrderShipped") == true)
    let chunks = "2\r\n{}\r\n0\r\n\r\n"
    #expect(
      statuses(try await commands.http.raw(post("/v1/orders", "Transfer-Encoding: gzip, chunked") + chunks)) == [
        "501 unknown-transfer-coding"
      ])
    try await eventually("a coding that is not known is logged too") {
      commands.process.output.contains("unknown-transfer-coding")
    }
    for coding in ["gzip", "chunked, gzip", "xchunked"] {
      #expect(
        statuses(try await commands.http.raw(post("/v1/orders", "Transfer-Encoding: \(coding)") + chunks)) == [
          "400 malformed-request"
        ], "\(coding)")
    }
  }

  @Test("A body must be JSON in UTF-8 without encoding, even where it is optional", .freshDatabase())
  func bodies() async throws {
    let system = System()
    try await system.migrate()
    let service = try await system.startReady(.commandService)
    let http = service.http
    func send(_ method: String, _ path: String, _ body: String, _ type: String, _ headers: [String: String] = [:])
      async throws -> String
    {
      let answer = try await http.send(method, path, body: Array(body.utf8), contentType: type, headers: headers)
      return "\(answer.status) \(answer.problem ?? "")"
    }
    try await register(http)
    let json = "application/json"
    #expect(try await send("POST", "/v1/orders", order, json + "; charset=utf-16") == "415 unsupported-media-type")
    #expect(try await send("POST", "/v1/orders", order, json + #"; charset="UTF-8""#) == "201 ")
    for type in [
      json + ";charset=utf-8;charset=utf-16", json + ";charset=utf-16;charset=utf-8", "application/x, y+json",
      "application/+json", json + ", " + json, "application / json",
    ] {
      #expect(try await send("POST", "/v1/orders", order, type) == "415 unsupported-media-type", "\(type)")
    }
    #expect(try await send("POST", "/v1/orders", order, "Application/Order+JSON ; charset=utf-8") == "201 ")
    let gzip = ["Content-Encoding": "gzip"]
    #expect(try await send("POST", "/v1/orders", order, json, gzip) == "415 unsupported-media-type")
    let product = "/v1/products/LANTERN"
    #expect(try await send("DELETE", product, "junk", "text/plain") == "415 unsupported-media-type")
    #expect(try await send("DELETE", product, "junk", json) == "400 malformed-json")
    #expect(try await send("DELETE", product, #"{"junk":1}"#, json) == "422 invalid-request")
    #expect(try await send("DELETE", product, "{}", json) == "200 ")
    #expect(try await http.send("DELETE", product).status == 200)
    let price = product + "/price"
    #expect(try await send("PUT", price, #"{"unitPrice":1e2}"#, json) == "200 ")
    #expect(try await send("PUT", price, #"{"unitPrice":100.00000000000000000001}"#, json) == "400 malformed-json")
    for tag in ["\"01\"", "\"+1\"", "\"1-\"", "\"-1\"", "\"1-!\"", "1"] {
      let answer = try await send("PUT", price, #"{"unitPrice":7}"#, json, ["If-Match": tag])
      #expect(answer == "400 invalid-header", "\(tag)")
    }
    let known = try #require(try await http.send("PUT", price, body: Array(#"{"unitPrice":8}"#.utf8)).headers["etag"])
    let both = ["If-Match": "\"1\", \(known)"]
    #expect(try await send("PUT", price, #"{"unitPrice":7}"#, json, both) == "200 ")
  }

  @Test("Every process answers HEAD wherever it answers GET", .freshDatabase(), .freshVirtualHost)
  func head() async throws {
    let system = System()
    try await system.migrate()
    for kind in System.Service.allCases {
      let service = try await system.startReady(kind)
      for path in ["/healthz", "/readyz", "/metrics"] {
        // A projector that just took partitions is not ready until its queue is bound to them.
        try await eventually("\(kind) answers HEAD \(path)") {
          let answer = try await service.http.raw("HEAD \(path) HTTP/1.1\r\nHost: a\r\n\r\n")
          #expect(answer.hasSuffix("\r\n\r\n"), "\(answer)")
          return answer.hasPrefix("HTTP/1.1 200")
        }
      }
    }
  }

  @Test("An internal error has a request id, and its log line has the same one", .freshDatabase())
  func requestID() async throws {
    let system = System()
    try await system.migrate()
    let service = try await system.startReady(.commandService)
    try await register(service.http)
    let database = try await FreshDatabase.current.connect()
    // No build knows this event, so the history cannot be read.
    try await database.execute(
      """
      set session_replication_role = replica;
      update event_store.events set type = 'NobodyKnows'
      """)
    let restarted = try await system.startReady(.commandService)
    let answer = try await restarted.http.send("DELETE", "/v1/products/LANTERN")
    #expect(answer.status == 500 && answer.problem == "unreadable-history", "\(answer.text)")
    let id = try #require(answer.json["requestId"]?.string)
    try await eventually("the log has it") {
      restarted.process.output.split(separator: "\n").contains { $0.contains("a request failed") && $0.contains(id) }
    }
    #expect(try await restarted.http.post("/v1/orders", ["lines": []]).json["requestId"] == nil)
  }
}
