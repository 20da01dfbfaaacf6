import Commerce
import CommerceAPI
import EventSourcing
import JSON
import Testing

@Suite("Requests")
struct RequestTests {
  /// The JSON pointers of the reported errors.
  private func pointers(_ body: () throws -> Void) -> [String] {
    do { try body() } catch let error as Rejection { return error.errors.map(\.pointer).sorted() } catch {
      return ["\(error)"]
    }
    return []
  }

  private let now = Timestamp("2026-11-24T12:00:00Z")!
  private let line: JSON = ["sku": "A", "quantity": 1]

  @Test("A full order is read, and null means absent")
  func order() throws {
    let request = try PlaceOrderRequest(
      [
        "orderId": "o", "customerId": "c", "placedAt": "2026-11-21T10:30:00+01:00",
        "lines": [["sku": " a ", "quantity": 1_000_000]],
      ], now: now)
    #expect(
      request.orderID == "o" && request.customerID == "c" && request.placedAt == Timestamp("2026-11-21T09:30:00Z"))
    #expect(request.lines == [.init(sku: SKU("A")!, quantity: 1_000_000)])
    let short = try PlaceOrderRequest(["lines": [line], "orderId": nil], now: now)
    #expect(short.orderID == nil && short.customerID == nil && short.placedAt == nil)
  }

  @Test(
    "An invalid order is rejected with a pointer to each error",
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
            ["sku": "A", "quantity": 1_000_001], ["sku": "A", "quantity": "1"], ["sku": 1, "quantity": .number(0.5)],
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
    #expect(pointers { _ = try PlaceOrderRequest(json, now: now) } == expected)
  }

  @Test(
    "An invalid product is rejected with a pointer to each error",
    arguments: [
      ([:], ["/name", "/sku", "/unitPrice"]), (["sku": "A", "name": " ", "unitPrice": 0], ["/name", "/unitPrice"]),
      (["sku": "A", "name": "n", "unitPrice": 1_000_000_000_001], ["/unitPrice"]),
      (["sku": "A", "name": "n", "unitPrice": -1], ["/unitPrice"]),
      (["sku": "A", "name": "n", "unitPrice": .number(9.99)], ["/unitPrice"]),
      (["sku": ".", "name": "n", "unitPrice": 1], ["/sku"]), (["sku": " .. ", "name": "n", "unitPrice": 1], ["/sku"]),
      (
        ["sku": "A/", "name": .string(String(repeating: "n", count: 201)), "unitPrice": 1, "description": 1],
        ["/description", "/name", "/sku"]
      ),
    ] as [(JSON, [String])])
  func wrongProducts(json: JSON, expected: [String]) {
    #expect(pointers { _ = try RegisterProductRequest(json) } == expected)
  }

  @Test("A reason is optional, but must not be empty")
  func cancellation() throws {
    #expect(try ReasonRequest(["reason": "r"]).reason == "r")
    #expect(try ReasonRequest([:]).reason == nil)
    #expect(pointers { _ = try ReasonRequest(["reason": ""]) } == ["/reason"])
    #expect(pointers { _ = try EmptyRequest(["reason": "r"]) } == ["/reason"])
  }

  @Test("An empty change and a zero quantity or amount are rejected")
  func details() throws {
    #expect(pointers { _ = try ChangeProductDetailsRequest([:]) } == [""])
    #expect(try ChangeProductDetailsRequest(["description": ""]).description == "")
    #expect(pointers { _ = try ReceiveStockRequest(["quantity": 0]) } == ["/quantity"])
    #expect(pointers { _ = try AdjustStockRequest(["quantity": 0, "reason": "r"]) } == ["/quantity"])
    #expect(pointers { _ = try AdjustStockRequest(["quantity": -1]) } == ["/reason"])
    #expect(pointers { _ = try PayOrderRequest(["amount": 0, "reference": 1]) } == ["/amount", "/reference"])
  }

  @Test("A whole number is accepted in any notation, but only if it is exact")
  func wholeNumbers() throws {
    for text in ["100", "100.0", "1e2", "1E+2", "1000e-1"] {
      #expect(try ChangePriceRequest(JSON(parsing: Array(#"{"unitPrice":\#(text)}"#.utf8))).unitPrice == 100, "\(text)")
    }
    for text in ["100.5", "1e-2", "9007199254740993.0", "1e300", "-1e2"] {
      let json = try JSON(parsing: Array(#"{"unitPrice":\#(text)}"#.utf8))
      #expect(pointers { _ = try ChangePriceRequest(json) } == ["/unitPrice"], "\(text)")
    }
  }

  @Test("Order and return times range from 1970 to one day ahead")
  func times() throws {
    let cases = [
      ("1970-01-01T00:00:00Z", true), ("2026-11-25T12:00:00Z", true), ("2026-11-25T13:00:00+01:00", true),
      ("1969-12-31T23:59:59.999999Z", false), ("2026-11-25T12:00:00.000001Z", false), ("9999-12-31T23:59:59Z", false),
    ]
    for (time, isFine) in cases {
      let order: JSON = ["lines": [line], "placedAt": .string(time)]
      let back: JSON = ["orderId": "o", "lines": [line], "returnedAt": .string(time)]
      #expect(pointers { _ = try PlaceOrderRequest(order, now: now) } == (isFine ? [] : ["/placedAt"]), "\(time)")
      #expect(pointers { _ = try RecordReturnRequest(back, now: now) } == (isFine ? [] : ["/returnedAt"]), "\(time)")
    }
  }

  @Test("No error detail ends with punctuation, because other texts quote it", arguments: ["", ".", "..", "ü", "a\tb"])
  func rules(id: String) throws {
    let json: JSON = ["orderId": .string(id), "lines": [["sku": .string(id), "quantity": .string(id)]]]
    do throws(Rejection) {
      _ = try PlaceOrderRequest(json, now: now)
      Issue.record("\(id) was taken")
    } catch {
      for field in error.errors {
        #expect(field.detail.last.map { !$0.isPunctuation || $0 == "\"" } == true, "\(field)")
      }
    }
  }

  @Test("A return of an order uses the order's prices, and a credit note states its own")
  func returns() throws {
    let priced: JSON = ["sku": "A", "quantity": 1, "unitPrice": 5]
    #expect(try RecordReturnRequest(["lines": [priced], "country": "France"], now: now).lines[0].unitPrice == 5)
    #expect(try RecordReturnRequest(["orderId": "o", "lines": [line]], now: now).orderID == "o")
    #expect(pointers { _ = try RecordReturnRequest(["lines": [line]], now: now) } == ["/lines/0/unitPrice"])
    #expect(
      pointers {
        _ = try RecordReturnRequest(["orderId": "o", "customerId": "c", "country": "F", "lines": [priced]], now: now)
      }
        == ["/country", "/customerId", "/lines/0/unitPrice"])
  }
}
