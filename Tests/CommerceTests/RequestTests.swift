import Commerce
import CommerceAPI
import EventSourcing
import JSON
import Testing

@Suite("Requests")
struct RequestTests {
  /// The pointers that are complained about.
  private func pointers(_ body: () throws -> Void) -> [String] {
    do { try body() } catch let error as InvalidRequest { return error.fields.map(\.pointer).sorted() } catch {
      return ["\(error)"]
    }
    return []
  }

  private let line: JSON = ["sku": "A", "quantity": 1]

  @Test("a full order is read, and null is the same as absent")
  func order() throws {
    let request = try PlaceOrderRequest([
      "orderId": "o", "customerId": "c", "placedAt": "2026-11-21T10:30:00+01:00",
      "lines": [["sku": " a ", "quantity": 1_000_000]],
    ])
    #expect(
      request.orderID == "o" && request.customerID == "c" && request.placedAt == Timestamp("2026-11-21T09:30:00Z"))
    #expect(request.lines == [.init(sku: SKU("A")!, quantity: 1_000_000)])
    let short = try PlaceOrderRequest(["lines": [line], "orderId": nil])
    #expect(short.orderID == nil && short.customerID == nil && short.placedAt == nil)
  }

  @Test(
    "orders that cannot be",
    arguments: [
      (JSON.null, [""]), ([], [""]), ([:], ["/lines"]), (["lines": []], ["/lines"]), (["lines": [:]], ["/lines"]),
      (["lines": JSON.array(Array(repeating: ["sku": "A", "quantity": 1], count: 101))], ["/lines"]),
      (["lines": [1]], ["/lines/0"]),
      (
        [
          "lines": [
            ["sku": "A", "quantity": 0], ["sku": "A", "quantity": -1], ["sku": "A", "quantity": .number(1.5)],
          ]
        ],
        ["/lines/0/quantity", "/lines/1/quantity", "/lines/2/quantity"]
      ),
      (
        [
          "lines": [
            ["sku": "A", "quantity": 1_000_001], ["sku": "A", "quantity": "1"], ["sku": 1, "quantity": .number(1)],
          ]
        ],
        ["/lines/0/quantity", "/lines/1/quantity", "/lines/2/quantity", "/lines/2/sku"]
      ),
      (["lines": [["sku": "A", "quantity": 1, "price": 1]], "a/b~": 1], ["/a~1b~0", "/lines/0/price"]),
      (
        ["lines": [["sku": "A", "quantity": 1]], "orderId": "", "customerId": "ü", "placedAt": "now"],
        ["/customerId", "/orderId", "/placedAt"]
      ),
      (
        ["lines": [["sku": "A", "quantity": 1]], "orderId": .string(String(repeating: "x", count: 129))], ["/orderId"]
      ),
      (["lines": [["sku": "A", "quantity": 1]], "orderId": "a\tb", "customerId": 7], ["/customerId", "/orderId"]),
    ] as [(JSON, [String])])
  func wrongOrders(json: JSON, expected: [String]) {
    #expect(pointers { _ = try PlaceOrderRequest(json) } == expected)
  }

  @Test(
    "products that cannot be",
    arguments: [
      ([:], ["/name", "/sku", "/unitPrice"]), (["sku": "A", "name": " ", "unitPrice": 0], ["/name", "/unitPrice"]),
      (["sku": "A", "name": "n", "unitPrice": 1_000_000_000_001], ["/unitPrice"]),
      (["sku": "A", "name": "n", "unitPrice": -1], ["/unitPrice"]),
      (["sku": "A", "name": "n", "unitPrice": .number(9.99)], ["/unitPrice"]),
      (
        ["sku": "A/", "name": .string(String(repeating: "n", count: 201)), "unitPrice": 1, "description": 1],
        ["/description", "/name", "/sku"]
      ),
    ] as [(JSON, [String])])
  func wrongProducts(json: JSON, expected: [String]) {
    #expect(pointers { _ = try RegisterProductRequest(json) } == expected)
  }

  @Test("a reason may be left out, but not be empty")
  func cancellation() throws {
    #expect(try ReasonRequest(["reason": "r"]).reason == "r")
    #expect(try ReasonRequest([:]).reason == nil)
    #expect(pointers { _ = try ReasonRequest(["reason": ""]) } == ["/reason"])
    #expect(pointers { _ = try EmptyRequest(["reason": "r"]) } == ["/reason"])
  }

  @Test("changes that change nothing, and stock of nothing, are refused")
  func details() throws {
    #expect(pointers { _ = try ChangeProductDetailsRequest([:]) } == [""])
    #expect(try ChangeProductDetailsRequest(["description": ""]).description == "")
    #expect(pointers { _ = try ReceiveStockRequest(["quantity": 0]) } == ["/quantity"])
    #expect(pointers { _ = try AdjustStockRequest(["quantity": 0, "reason": "r"]) } == ["/quantity"])
    #expect(pointers { _ = try AdjustStockRequest(["quantity": -1]) } == ["/reason"])
    #expect(pointers { _ = try PayOrderRequest(["amount": 0, "reference": 1]) } == ["/amount", "/reference"])
  }

  @Test("a return of an order takes its prices, a credit note has its own")
  func returns() throws {
    let priced: JSON = ["sku": "A", "quantity": 1, "unitPrice": 5]
    #expect(try RecordReturnRequest(["lines": [priced], "country": "France"]).lines[0].unitPrice == 5)
    #expect(try RecordReturnRequest(["orderId": "o", "lines": [line]]).orderID == "o")
    #expect(pointers { _ = try RecordReturnRequest(["lines": [line]]) } == ["/lines/0/unitPrice"])
    #expect(
      pointers { _ = try RecordReturnRequest(["orderId": "o", "customerId": "c", "country": "F", "lines": [priced]]) }
        == ["/country", "/customerId", "/lines/0/unitPrice"])
  }
}
