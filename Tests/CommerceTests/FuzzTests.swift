import CommandKit
import Commerce
import CommerceAPI
import CounterflowTesting
import EventSourcing
import JSON
import TestSupport
import Testing

/// A reader of a request, one valid body, and the command that the reader makes of a body.
private struct Reader: Sendable {
  let name: String
  let valid: String
  let read: @Sendable (JSON) throws -> (any Command)?
}

@Suite("Request fuzzing")
struct RequestFuzzTests {
  private static let now = Timestamp("2026-11-24T12:00:00Z")!
  private static func known() throws -> Given {
    let registered = ProductRegistered(
      sku: SKU("A")!, name: "A", description: nil, unitPrice: 1_000_000_000_000, currency: "GBP", tracksStock: true)
    return try givenNothing().and(Product.self, id: "A", ProductEvent.registered(registered))
      .and(Product.self, id: "A", ProductEvent.stockReceived(sku: SKU("A")!, quantity: .max - 10))
  }

  private static let readers: [Reader] = [
    Reader(name: "product", valid: #"{"sku":"a","name":"n","description":"d","unitPrice":1,"tracksStock":true}"#) {
      let body = try RegisterProductRequest($0)
      return RegisterProduct(
        ProductRegistered(
          sku: body.sku, name: body.name, description: body.description, unitPrice: body.unitPrice, currency: "GBP",
          tracksStock: body.tracksStock))
    },
    Reader(name: "details", valid: #"{"name":"n","description":"d"}"#) {
      let body = try ChangeProductDetailsRequest($0)
      return ChangeProductDetails(SKU("A")!, name: body.name, description: body.description)
    },
    Reader(name: "back in stock", valid: #"{"customerId":"c"}"#) {
      RequestBackInStock(SKU("A")!, customerID: try BackInStockRequest($0).customerID)
    },
    Reader(name: "price", valid: #"{"unitPrice":1}"#) {
      ChangePrice(SKU("A")!, unitPrice: try ChangePriceRequest($0).unitPrice)
    },
    Reader(name: "receipt", valid: #"{"quantity":1000000}"#) {
      ReceiveStock(SKU("A")!, quantity: try ReceiveStockRequest($0).quantity)
    },
    Reader(name: "adjustment", valid: #"{"quantity":-5,"reason":"r"}"#) {
      let body = try AdjustStockRequest($0)
      return AdjustStock(SKU("A")!, quantity: body.quantity, reason: body.reason)
    },
    Reader(
      name: "order",
      valid: """
        {"orderId":"o","customerId":"c","country":"F","placedAt":"2026-11-21T09:30:00Z",
        "lines":[{"sku":"a","quantity":1000000,"unitPrice":1000000},{"sku":"A","quantity":1,"unitPrice":null}]}
        """
    ) {
      let body = try PlaceOrderRequest($0, now: now)
      return PlaceOrder(
        orderID: body.orderID ?? "new", customerID: body.customerID, country: body.country, lines: body.lines,
        placedAt: body.placedAt ?? now, currency: "GBP")
    },
    Reader(name: "payment", valid: #"{"amount":5,"reference":"r"}"#) {
      let body = try PayOrderRequest($0)
      return PayOrder(orderID: "o", amount: body.amount, reference: body.reference)
    },
    Reader(name: "shipment", valid: #"{"carrier":"c","trackingCode":"t"}"#) {
      let body = try ShipOrderRequest($0)
      return ShipOrder(orderID: "o", carrier: body.carrier, trackingCode: body.trackingCode, skus: [])
    },
    Reader(
      name: "return",
      valid: """
        {"returnId":"r","customerId":"c","country":"F","returnedAt":"2026-11-21T09:30:00Z","reason":"r",
        "lines":[{"sku":"a","quantity":1000000,"unitPrice":1000000}]}
        """
    ) {
      let body = try RecordReturnRequest($0, now: now)
      return RecordReturn(
        returnID: body.returnID ?? "new", orderID: body.orderID, customerID: body.customerID, country: body.country,
        reason: body.reason, lines: body.lines, returnedAt: body.returnedAt ?? now, currency: "GBP")
    },
    Reader(name: "customer", valid: #"{"customerId":"c","name":"n","email":"a@b","country":"F"}"#) {
      let body = try RegisterCustomerRequest($0)
      _ = try PersonalData(parsing: body.personal.encoded)
      return RegisterCustomer(
        CustomerRegistered(customerID: body.customerID ?? "new", sealed: "s", country: body.country))
    },
    Reader(name: "change of a customer", valid: #"{"name":"n","email":"a@b","country":"F"}"#) {
      let body = try ChangeCustomerRequest($0)
      return ChangeCustomer(
        CustomerChanged(customerID: "c", sealed: body.personal.map { _ in "s" }, country: body.country))
    },
    Reader(name: "reason", valid: #"{"reason":"r"}"#) {
      CancelOrder(orderID: "o", reason: try ReasonRequest($0).reason, skus: [])
    },
    Reader(name: "empty", valid: "{}") {
      _ = try EmptyRequest($0); return nil
    },
  ]

  @Test("A body gives a command that can be decided, or a list of all its errors", arguments: 0..<13)
  func bodies(index: Int) throws {
    let reader = Self.readers[index]
    var fuzzer = Fuzzer(UInt64(index))
    let valid = try JSON(parsing: Array(reader.valid.utf8))
    _ = try reader.read(valid)
    let known = try Self.known()
    var refused = 0
    for _ in 0..<Fuzzer.count / Self.readers.count {
      var body = valid
      for _ in 0..<Int.random(in: 1...3, using: &fuzzer.random) { body = fuzzer.changed(body) }
      do {
        guard let command = try reader.read(body) else { continue }
        _ = try known.emits(command)
      } catch let error as Rejection where error.code == "invalid-request" {
        refused += 1
        let isSaid = error.errors.allSatisfy {
          ($0.pointer.isEmpty || $0.pointer.first == "/") && !$0.detail.isEmpty && $0.detail.last != "."
        }
        if error.errors.isEmpty || !isSaid { Issue.record("\(body): \(error) with FUZZ_SEED=\(Fuzzer.seed)") }
      } catch is Rejection {
        // A business rule rejected the command, which is a valid result.
      } catch { Issue.record("\(body): \(error) with FUZZ_SEED=\(Fuzzer.seed)") }
    }
    #expect(refused > 0)
  }

  @Test("A stored response is decoded as it was encoded; other bytes give nil or a valid response")
  func answers() {
    var fuzzer = Fuzzer(100)
    let answers = [
      CommandResponse(
        status: 201, location: "/v1/orders/o", id: "o", version: 1, position: Array("42".utf8),
        streams: Array("42 9ae16a3b2f90404f+0".utf8)),
      CommandResponse(status: 200, id: "o", version: 2, position: Array("43".utf8), streams: [], hasChanged: false),
    ]
    for answer in answers { #expect(CommandResponse(answer.encoded) == answer) }
    for _ in 0..<Fuzzer.count {
      let bytes = fuzzer.bytes(like: answers.map(\.encoded))
      guard let read = CommandResponse(bytes) else { continue }
      if CommandResponse(read.encoded) != read { Issue.record("\(bytes) with FUZZ_SEED=\(Fuzzer.seed)") }
    }
  }
}
