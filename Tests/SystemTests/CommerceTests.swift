import AccessKit
import CommerceAPI
import CommerceStore
import Foundation
import HTTPKit
import JSON
import SettingsKit
import TestSupport
import Testing

/// The commerce back end as its clients see it, with real processes.
@Suite("Commerce", .tags(.system), .needsServers)
struct CommerceTests {
  @Test(
    "All commands from the catalogue to the return work, and every read model shows them", .freshStores,
    .freshVirtualHost)
  func life() async throws {
    let exchanges = HTTPExchanges()
    try await HTTPExchanges.$current.withValue(exchanges) { try await lifeItself() }
    // The responses match the document, and cover all of it.
    let routes = JSON.array(
      (CommerceRoutes.commands + CommerceRoutes.queries
        + CommerceRoutes.operations.flatMap { [("GET", $0), ("HEAD", $0)] }).map {
          [.string($0.method), .string($0.path)]
        })
    let file = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("exchanges"))
    try Data(exchanges.json.encoded).write(to: file)
    let files = ["Tests/SystemTests/check_openapi.py", "Sources/Commerce/API/openapi.yaml"].map {
      TestEnvironment.root.appendingPathComponent($0).path
    }
    let check = try ChildProcess(
      URL(fileURLWithPath: "/bin/bash"),
      ["-c", #"exec /usr/bin/python3 "$1" "$2" "$3" <"$4""#, "check"] + files
        + [String(decoding: routes.encoded, as: UTF8.self), file.path])
    #expect(try await check.wait() == 0, "\(check.output)")
  }

  private func lifeItself() async throws {
    let secret = String(repeating: "k3y-", count: 10)
    let token = try await developmentToken(
      Settings(["AUTH_KEY": secret]), subject: "shop", scopes: Set(Scope.commerce), lifetime: .seconds(600))
    let system = System(settings: ["AUTH": "jwt", "AUTH_KEY": secret])
    try await system.migrate()
    let commandService = try await system.startReady(.commandService)
    try await system.startReady([.relay, .projector])
    let queryService = try await system.startReady(.queryService)
    func probe(_ service: RunningService) -> HTTPProbe {
      var probe = service.http
      probe.headers = ["Authorization": "Bearer \(token)"]
      return probe
    }
    let (commands, queries) = (probe(commandService), probe(queryService))
    func post(_ path: String, _ body: JSON, _ method: String = "POST") async throws -> (Int, String, JSON) {
      let answer = try await commands.send(method, path, body: body.encoded, contentType: "application/json")
      return (answer.status, answer.problem ?? "", answer.json)
    }
    func expect(
      _ path: String, _ body: JSON, _ status: Int, _ problem: String = "", method: String = "POST",
      changed: Bool? = nil, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
      let answer = try await post(path, body, method)
      #expect(answer.0 == status && answer.1 == problem, "\(answer)", sourceLocation: sourceLocation)
      if let changed { #expect(answer.2["changed"] == .boolean(changed), sourceLocation: sourceLocation) }
    }
    func read(
      _ path: String, _ what: String, _ condition: @escaping @Sendable (JSON) -> Bool
    ) async throws -> JSON {
      try await eventually(what) { condition(try await queries.get(path).json) }
      return try await queries.get(path).json
    }

    try await expect("/v1/products", ["sku": "lantern", "name": "Café lantern", "unitPrice": 339], 201)
    try await expect("/v1/products", ["sku": "mug", "name": "Mug", "unitPrice": 165, "tracksStock": false], 201)
    try await expect("/v1/products/LANTERN", ["description": "bright"], 200, method: "PATCH", changed: true)
    try await expect("/v1/products/LANTERN", ["description": "bright"], 200, method: "PATCH", changed: false)
    try await expect("/v1/products/LANTERN/stock/receipts", ["quantity": 10], 200)
    try await expect("/v1/products/LANTERN/stock/adjustments", ["quantity": -2, "reason": "broken"], 200)
    try await expect("/v1/products/MUG/stock/receipts", ["quantity": 1], 409, "stock-not-tracked")
    try await expect("/v1/products/MISSING/stock/receipts", ["quantity": 1], 404, "not-found")
    try await expect(
      "/v1/products/LANTERN/stock/adjustments", ["quantity": -9, "reason": "lost"], 422, "stock-below-reserved")
    #expect(try await commands.send("DELETE", "/v1/products/MUG").status == 200)
    try await expect("/v1/products/MUG/reinstatement", [:], 200, changed: true)

    let lines: JSON = [["sku": "LANTERN", "quantity": 6], ["sku": "MUG", "quantity": 2, "unitPrice": 150]]
    let order: JSON = [
      "orderId": "o-1", "customerId": "ada", "country": "France", "placedAt": "2011-09-01T10:00:00Z", "lines": lines,
    ]
    try await expect("/v1/orders", order, 201)
    let short = try await post(
      "/v1/orders", ["lines": [["sku": "MUG", "quantity": 1], ["sku": "LANTERN", "quantity": 3]]])
    #expect(short.0 == 422 && short.1 == "stock-lacking")
    #expect(short.2["errors"]?[0]?["pointer"] == "/lines/1/quantity")
    _ = try await read("/v1/products/LANTERN", "the stock is reserved") {
      $0["stock"] == ["onHand": 8, "reserved": 6, "available": 2]
    }
    try await expect("/v1/orders/o-1/shipment", [:], 409, "order-not-paid")
    try await expect("/v1/orders/o-1/payment", ["amount": 1], 422, "amount-differs")
    try await expect("/v1/orders/o-1/payment", ["amount": 2334, "reference": "p-1"], 200, changed: true)
    try await expect("/v1/orders/o-1/payment", ["amount": 2334], 200, changed: false)
    try await expect("/v1/orders/o-1/delivery", [:], 409, "order-not-shipped")
    try await expect(
      "/v1/returns", ["orderId": "o-1", "lines": [["sku": "MUG", "quantity": 1]]], 409, "order-not-shipped")
    try await expect("/v1/orders/o-1/shipment", ["carrier": "La Poste", "trackingCode": "LP7"], 200, changed: true)
    try await expect("/v1/orders/o-1/shipment", [:], 200, changed: false)
    try await expect("/v1/orders/o-1/cancellation", [:], 409, "order-shipped")
    try await expect("/v1/orders/o-1/delivery", [:], 200, changed: true)
    try await expect("/v1/orders/missing/shipment", [:], 404, "not-found")
    let back: JSON = [
      "returnId": "r-1", "orderId": "o-1", "returnedAt": "2011-10-02T00:00:00Z",
      "lines": [["sku": "LANTERN", "quantity": 2]],
    ]
    try await expect("/v1/returns", back, 201)
    try await expect("/v1/returns", back, 409, "return-exists")
    try await expect(
      "/v1/returns", ["orderId": "o-1", "lines": [["sku": "LANTERN", "quantity": 5]]], 422, "return-exceeds-order")
    try await expect(
      "/v1/returns", ["orderId": "none", "lines": [["sku": "MUG", "quantity": 1]]], 422, "order-unknown")
    try await expect("/v1/returns", ["lines": [["sku": "X", "quantity": 1, "unitPrice": 1]]], 422, "product-unknown")
    let credit: JSON = [
      "returnId": "r-2", "country": "France", "customerId": "ada", "returnedAt": "2011-10-03T00:00:00Z",
      "reason": "broken",
      "lines": [["sku": "LANTERN", "quantity": 1, "unitPrice": 100]],
    ]
    try await expect("/v1/returns", credit, 201)
    try await expect(
      "/v1/orders", ["orderId": "o-2", "customerId": "ada", "lines": [["sku": "LANTERN", "quantity": 1]]], 201)
    try await expect("/v1/orders/o-2/cancellation", ["reason": "no need"], 200, changed: true)
    try await expect("/v1/orders/o-2/cancellation", [:], 200, changed: false)
    try await expect("/v1/orders/o-2/payment", ["amount": 339], 409, "order-cancelled")

    let product = try await read("/v1/products/LANTERN", "all has come to the catalogue") { $0["version"] == 10 }
    #expect(product["stock"] == ["onHand": 5, "reserved": 0, "available": 5])
    #expect(product["description"] == "bright")
    let read1 = try await read("/v1/orders/o-1", "the return is read") { $0["returnedTotal"] == 678 }
    #expect(read1["status"] == "delivered" && read1["carrier"] == "La Poste" && read1["total"] == 2334)
    #expect(
      read1["timeline"]?.array?.compactMap { $0["status"]?.string } == ["placed", "paid", "shipped", "delivered"])
    #expect(read1["lines"]?.array?.map { $0["returned"] } == [2, 0])
    #expect(try await queries.get("/v1/returns/r-1", until: 200).json["total"] == 678)
    #expect(try await queries.get("/v1/returns/r-2", until: 200).json["total"] == 100)

    let sales = try await read("/v1/sales?interval=month&to=2012-01-01", "sales have come") {
      $0["items"]?[0]?["orders"] == 1 && $0["items"]?[1]?["returned"] == 778
    }
    #expect(
      sales["items"]
        == [
          ["from": "2011-09-01", "orders": 1, "units": 8, "gross": 2334, "cancelled": 0, "returned": 0, "net": 2334],
          ["from": "2011-10-01", "orders": 0, "units": 0, "gross": 0, "cancelled": 0, "returned": 778, "net": -778],
        ])
    _ = try await read("/v1/sales?from=2012-01-01", "the cancelled order counts as such") {
      $0["items"]?[0]?["cancelled"] == 339 && $0["items"]?[0]?["orders"] == 0
    }
    let first = try await queries.get("/v1/sales?interval=day&limit=1").json
    let cursor = try #require(first["nextCursor"]?.string)
    #expect(
      try await queries.get("/v1/sales?interval=day&limit=1&cursor=\(cursor)").json["items"]?[0]?["from"]
        == "2011-10-02")
    #expect(
      try await queries.get("/v1/sales/products?by=units&to=2012-01-01").json["items"]
        == [
          ["sku": "LANTERN", "name": "Café lantern", "units": 6, "gross": 2034, "returned": 778, "net": 1256],
          ["sku": "MUG", "name": "Mug", "units": 2, "gross": 300, "returned": 0, "net": 300],
        ])
    #expect(
      try await queries.get("/v1/sales/countries").json["items"]?[0]
        == ["country": "France", "orders": 1, "gross": 2334, "returned": 778, "net": 1556])
    #expect(
      try await queries.get("/v1/sales/customers").json["items"]
        == [["customerId": "ada", "orders": 1, "gross": 2334, "returned": 778, "net": 1556]])
    #expect(try await queries.get("/v1/products/LANTERN").json["unitsSold"] == 6)

    try await expect("/v1/products/MUG/price", ["unitPrice": 170], 200, method: "PUT", changed: true)
    try await expect("/v1/customers", ["customerId": "ada", "name": "Ada", "email": "ada@example.org"], 201)
    try await expect("/v1/customers", ["customerId": "bob", "name": "Bob"], 201)
    try await expect("/v1/customers/ada", ["country": "France"], 200, method: "PATCH", changed: true)
    _ = try await read("/v1/customers/ada", "ada has a country") { $0["country"]?.string != nil }
    try await expect("/v1/customers/bob/personal-data", [:], 200, method: "DELETE", changed: true)
    _ = try await read("/v1/customers/bob", "bob is erased") { $0["erasedAt"]?.string != nil }
    _ = try await read("/v1/customers?q=ada", "ada is found") { $0["items"]?.array?.count == 1 }
    #expect(try await queries.get("/v1/customers/ada").json["spent"] == 2334)
    #expect(try await queries.get("/v1/customers?limit=1").json["nextCursor"]?.string != nil)
    #expect(try await queries.get("/v1/returns/r-1").json["orderId"] == "o-1")
    try await expect("/v1/returns", ["orderId": "o-1", "reason": "r", "lines": [["sku": "MUG", "quantity": 1]]], 201)
    try await expect("/v1/orders/o-2/cancellation", ["reason": ""], 422, "invalid-request")
    for service in [commands, queries] {
      #expect(try await service.get("/healthz").status == 200)
      #expect(try await service.get("/readyz").status == 200)
      let document = try await service.get("/openapi.yaml")
      #expect(document.status == 200 && document.body == CommerceRoutes.openAPI)
    }

    // Searches.
    func ids(_ query: String, _ member: String = "orderId", path: String = "/v1/orders") async throws -> [String] {
      let answer = try await queries.get("\(path)?\(query)")
      #expect(answer.status == 200, "\(query): \(answer.text)")
      return answer.json["items"]?.array?.compactMap { $0[member]?.string } ?? []
    }
    #expect(try await ids("") == ["o-2", "o-1"])
    #expect(try await ids("sort=placedAt") == ["o-1", "o-2"])
    #expect(try await ids("status=cancelled&customerId=ada") == ["o-2"])
    #expect(try await ids("country=France&from=2011-09-01&to=2011-09-02") == ["o-1"])
    #expect(try await ids("q=mug") == ["o-1"])
    #expect(try await ids("q=o-2") == ["o-2"])
    #expect(try await ids("q=LANTREN") == ["o-2", "o-1"])
    #expect(try await ids("status=delivered", path: "/v1/customers/ada/orders") == ["o-1"])
    let page = try await queries.get("/v1/orders?limit=1").json
    #expect(try await ids("limit=1&cursor=\(try #require(page["nextCursor"]?.string))") == ["o-1"])
    func skus(_ query: String) async throws -> [String] { try await ids(query, "sku", path: "/v1/products") }
    #expect(try await skus("") == ["LANTERN", "MUG"])
    for text in ["cafe", "CAF%C3%89%20lan", "lanturn", "lant", "latnern", "lxntern", "lanterns"] {
      #expect(try await skus("q=\(text)") == ["LANTERN"], "\(text)")
    }
    #expect(try await skus("q=%25") == [])
    #expect(try await skus("q=pattern") == [])
    #expect(try await skus("q=mugs") == [])
    #expect(try await skus("sort=-unitPrice&minPrice=100&maxPrice=400&onSale=true&inStock=true") == ["LANTERN", "MUG"])
    #expect(try await skus("maxPrice=200") == ["MUG"])
    #expect(try await skus("onSale=false") == [])
    for sort in ["sku", "name", "unitPrice", "-unitPrice"] {
      let first = try await queries.get("/v1/products?limit=1&sort=\(sort)").json
      let second = try await skus("limit=1&sort=\(sort)&cursor=\(try #require(first["nextCursor"]?.string))")
      #expect(Set(second + [first["items"]?[0]?["sku"]?.string ?? ""]) == ["LANTERN", "MUG"], "\(sort)")
    }
    // Histories and earlier versions.
    let history = try await queries.get("/v1/orders/o-1/history")
    let types = [
      "OrderPlaced", "OrderPaid", "OrderShipped", "OrderDelivered", "OrderItemsReturned", "OrderItemsReturned",
    ]
    #expect(history.json["items"]?.array?.map { $0["type"]?.string } == types)
    #expect(history.json["items"]?[0]?["actor"] == "shop" && history.json["items"]?[0]?["data"]?["orderId"] == "o-1")
    #expect(history.headers["read-lag-ms"] == "0")
    let two = try await queries.get("/v1/orders/o-1/history?limit=2").json
    let rest = try await queries.get("/v1/orders/o-1/history?cursor=\(try #require(two["nextCursor"]?.string))").json
    #expect(rest["items"]?.array?.count == 4 && rest["nextCursor"]?.isNull == true)
    _ = try await read("/v1/orders/o-1", "the second return is read") { $0["version"] == 6 }
    let now = try await queries.get("/v1/orders/o-1")
    let statuses = ["placed", "paid", "shipped", "delivered", "delivered", "delivered"]
    for (index, status) in statuses.enumerated() {
      let then = try await queries.get("/v1/orders/o-1?version=\(index + 1)")
      #expect(then.json["status"]?.string == status && then.json["version"] == .integer(Int64(index + 1)))
      #expect(then.headers["etag"]?.hasPrefix("\"\(index + 1)-") == true)
      let time = try #require(history.json["items"]?[index]?["at"]?.string)
      #expect(try await queries.get("/v1/orders/o-1?at=\(time)").body == then.body)
    }
    #expect(try await queries.get("/v1/orders/o-1?version=6").body == now.body)
    #expect(try await queries.get("/v1/orders/o-1?version=7").status == 404)
    #expect(try await queries.get("/v1/orders/o-1?at=2001-01-01").status == 404)
    #expect(try await queries.get("/v1/orders/nothing/history").status == 404)
    #expect(try await queries.get("/v1/products/LANTERN?version=1").json["stock"]?["onHand"] == 0)
    #expect(try await queries.get("/v1/products/LANTERN?version=3").json["stock"]?["onHand"] == 10)
    #expect(try await queries.get("/v1/products/LANTERN/history").json["items"]?[2]?["type"] == "StockReceived")
    #expect(try await queries.get("/v1/customers/ada?version=1").json["name"]?.string != nil)
    #expect(try await queries.get("/v1/customers/ada/history").json["items"]?[0]?["data"]?["name"]?.string != nil)

    // Streams of changes. Nothing new happens, so they start at the beginning.
    let mark = try #require(
      try await queries.stream("/v1/changes", seconds: 1).headers["read-position"].map { Int64($0) })
    #expect(mark! > 0)
    let followed = try await queries.stream("/v1/orders/o-1/changes", seconds: 1)
    #expect(followed.status == 200 && followed.headers["content-type"] == "text/event-stream")
    #expect(try await queries.stream("/v1/orders/nothing/changes", seconds: 1).status == 404)

    for wrong in [
      "/v1/changes?types=Order%20Placed", "/v1/changes?type=x", "/v1/orders/o-1/changes?x=1",
      "/v1/orders/o-1?version=0", "/v1/orders/o-1?version=1&at=2011-01-01", "/v1/orders/o-1?at=noon",
      "/v1/orders/o-1?x=1",
      "/v1/orders/o-1/history?cursor=x", "/v1/products/LANTERN/history?limit=1001",
      "/v1/orders?status=eaten", "/v1/orders?form=x", "/v1/orders?from=yesterday", "/v1/orders?cursor=x",
      "/v1/orders?limit=0", "/v1/orders?limit=1&limit=2", "/v1/orders?q=", "/v1/orders?q=%00",
      "/v1/products?onSale=yes",
      "/v1/products?minPrice=-1", "/v1/products?sort=size", "/v1/products?cursor=x",
      "/v1/orders?sort=placedAt&cursor=\(page["nextCursor"]?.string ?? "")", "/v1/sales?interval=hour",
      "/v1/sales?from=2011-02-30", "/v1/sales/products?by=love", "/v1/sales/countries?limit=1",
      "/v1/sales/customers?from=2011-01-01",
    ] {
      let answer = try await queries.get(wrong)
      #expect(answer.status == 400 && answer.problem == "invalid-parameter", "\(wrong): \(answer.text)")
    }

    try await expect("/v1/products", ["sku": "vase", "name": "Vase", "unitPrice": 900], 201)
    try await expect("/v1/products/VASE/notifications", ["customerId": "ada"], 200, changed: true)
    try await expect("/v1/products/VASE/notifications", ["customerId": "ada"], 200, changed: false)
    try await expect("/v1/products/VASE/notifications", [:], 422, "invalid-request")
    try await expect("/v1/products/VASE/notifications", ["customerId": "nobody"], 422, "customer-unknown")
    try await expect("/v1/products/VASE/notifications", ["customerId": "bob"], 409, "customer-erased")
    try await expect("/v1/products/MUG/notifications", ["customerId": "ada"], 409, "product-available")
    try await expect("/v1/products/MISSING/notifications", ["customerId": "ada"], 404, "not-found")
  }
}
