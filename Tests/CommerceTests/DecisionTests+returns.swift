import Commerce
import CounterflowTesting
import EventSourcing
import JSON
import TestSupport
import Testing

// Returns, customers, and rules that hold after any command.
extension DecisionTests {
  @Test("A return of a shipped order uses the order's prices, up to the ordered quantity")
  func returns() throws {
    let known = try givenNothing().product(lantern(tracksStock: true)).order(
      placed([4, 2], tracksStock: true), paid, shipped)
    #expect(
      try known.emits(comeBack(order: "o", [("LANTERN", 5)])) == [
        #"order-o OrderItemsReturned {"orderId":"o","returnId":"r","items":[{"line":0,"sku":"LANTERN","quantity":4,"unitPrice":339},{"line":1,"sku":"LANTERN","quantity":1,"unitPrice":339}],"total":1695,"returnedAt":"2026-11-21T09:30:00Z"}"#,
        #"product-LANTERN StockReturned {"sku":"LANTERN","returnId":"r","quantity":5}"#,
        #"return-r ReturnRecorded {"returnId":"r","orderId":"o","customerId":"ada","country":"France","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":4,"unitPrice":339},{"sku":"LANTERN","name":"Metal lantern","quantity":1,"unitPrice":339}],"total":1695,"currency":"GBP","returnedAt":"2026-11-21T09:30:00Z"}"#,
      ])
    let once = OrderEvent.itemsReturned(
      OrderItemsReturned(
        orderID: "o", returnID: "r0", items: [.init(line: 0, sku: sku, quantity: 4, unitPrice: 339)], total: 1356,
        returnedAt: time))
    let later = try known.order(once)
    #expect(try later.emits(comeBack(order: "o", [("LANTERN", 2)])).count == 3)
    #expect(
      throws: Rejection.returnExceedsOrder(
        order: "o",
        [
          .init(index: 1, sku: sku, ordered: 2, available: 1),
          .init(index: 2, sku: SKU("X")!, ordered: 1, available: 0),
        ])
    ) { try later.emits(comeBack(order: "o", [("LANTERN", 1), ("LANTERN", 2), ("X", 1)])) }
    #expect(throws: Rejection.orderNotShipped("o")) {
      try givenNothing().order(placed(), paid).emits(comeBack(order: "o", [("LANTERN", 1)]))
    }
    #expect(throws: Rejection.returnedOrderUnknown("o")) {
      try givenNothing().emits(comeBack(order: "o", [("LANTERN", 1)]))
    }
  }

  @Test("A credit note has its own prices, and only known products")
  func creditNote() throws {
    let command = comeBack(order: nil, [("LANTERN", 2)], price: 100)
    let known = try givenNothing().product(lantern(tracksStock: true), .discontinued(sku: sku))
    let events = try known.emits(command)
    #expect(
      events == [
        #"product-LANTERN StockReturned {"sku":"LANTERN","returnId":"r","quantity":2}"#,
        #"return-r ReturnRecorded {"returnId":"r","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":2,"unitPrice":100}],"total":200,"currency":"GBP","returnedAt":"2026-11-21T09:30:00Z"}"#,
      ])
    #expect(throws: Rejection.productsUnknown([.init(index: 0, sku: sku, reason: .unknown)])) {
      try givenNothing().emits(command)
    }
    let recorded = ReturnEvent.recorded(
      ReturnRecorded(
        returnID: "r", orderID: nil, customerID: nil, country: nil, reason: nil, lines: [], total: 0, currency: "GBP",
        returnedAt: time))
    #expect(throws: Rejection.returnExists("r")) {
      try known.and(Return.self, id: "r", recorded).emits(command)
    }
    #expect(throws: Rejection.totalOverflows) {
      try known.emits(
        comeBack(order: nil, Array(repeating: ("LANTERN", 1_000_000), count: 10), price: 1_000_000_000_000))
    }
  }

  @Test("After any commands stock and refunds add up, and reservations are covered", arguments: 0..<50)
  func anything(seed: UInt64) throws {
    var random = SplitMix(state: seed)
    var given = try givenNothing().product(lantern(tracksStock: true))
    var product = Product()
    product.apply(lantern(tracksStock: true))
    var orders: [Order] = Array(repeating: Order(), count: 3)
    var (received, adjusted, returned, shipped): (Int64, Int64, Int64, Int64) = (0, 0, 0, 0)
    var returns: Int64 = 0
    for step in 0..<80 {
      let place = Int.random(in: 0..<orders.count, using: &random)
      let id = "o-\(place)"
      let quantity = Int64.random(in: 1...9, using: &random)
      let command: any Command =
        switch Int.random(in: 0..<8, using: &random) {
        case 0: ReceiveStock(sku, quantity: quantity)
        case 1: AdjustStock(sku, quantity: -quantity, reason: "r")
        case 2, 3:
          PlaceOrder(
            orderID: id, customerID: nil, country: nil,
            lines: [.init(sku: sku, quantity: quantity), .init(sku: sku, quantity: 1, unitPrice: quantity)],
            placedAt: time, currency: "GBP")
        case 4: PayOrder(orderID: id, amount: orders[place].total, reference: nil)
        case 5: ShipOrder(orderID: id, carrier: nil, trackingCode: nil, skus: [sku])
        case 6: CancelOrder(orderID: id, reason: nil, skus: [sku])
        default:
          RecordReturn(
            returnID: "r-\(step)", orderID: id, customerID: nil, country: nil, reason: nil,
            lines: [.init(sku: sku, quantity: quantity, unitPrice: nil)], returnedAt: time, currency: "GBP")
        }
      let outcome = try given.when(command)
      given = outcome.after
      for recorded in outcome.events {
        switch recorded.stream.category {
        case Product.category:
          let event = try ProductEvent(recorded)
          product.apply(event)
          switch event {
          case .stockReceived(_, let quantity): received += quantity
          case .stockAdjusted(_, let quantity, _): adjusted += quantity
          case .stockReturned(_, _, let quantity): returned += quantity
          case .stockShipped(let moved): shipped += moved.quantity
          default: break
          }
        case Order.category:
          let event = try OrderEvent(recorded)
          orders[place].apply(event)
          if case .itemsReturned(let items) = event { returns += items.total }
        default:
          guard case .recorded(let recorded) = try ReturnEvent(recorded) else { break }
          returns -= recorded.total
        }
      }
      #expect(product.onHand == received + adjusted + returned - shipped)
      #expect(0 <= product.reserved && product.reserved <= product.onHand)
      let promised = orders.filter { $0.status == .placed || $0.status == .paid }.flatMap(\.tracked).reduce(0) {
        $0 + $1.quantity
      }
      #expect(product.reserved == promised)
      #expect(orders.allSatisfy { $0.lines.allSatisfy { (0...$0.placed.quantity).contains($0.returned) } })
      #expect(orders.allSatisfy { $0.total == $0.lines.reduce(0) { $0 + $1.placed.total } })
      // Orders and returns record the same refunds.
      #expect(returns == 0)
    }
  }

  @Test("A customer is registered once, changed until erased, and erased once")
  func customers() throws {
    let registered = CustomerRegistered(customerID: "ada", sealed: "x", country: "France")
    #expect(
      try givenNothing().emits(RegisterCustomer(registered)) == [
        #"customer-ada CustomerRegistered {"customerId":"ada","sealed":"x","country":"France"}"#
      ])
    let known = try givenNothing().and(Customer.self, id: "ada", .registered(registered))
    #expect(throws: Rejection.customerExists("ada")) { try known.emits(RegisterCustomer(registered)) }
    let change = ChangeCustomer(CustomerChanged(customerID: "ada", sealed: "y", country: nil))
    #expect(try known.emits(change) == [#"customer-ada CustomerChanged {"customerId":"ada","sealed":"y"}"#])
    #expect(try known.emits(ChangeCustomer(CustomerChanged(customerID: "ada", sealed: nil, country: "France"))) == [])
    #expect(throws: Rejection.customerNotFound("ada")) { try givenNothing().emits(change) }
    let erasure = PersonalDataErased(customerID: "ada", events: 2, erasedAt: time, reason: nil)
    let erase = ErasePersonalData(erasure)
    #expect(throws: Rejection.changedMeanwhile("ada")) { try known.emits(erase) }
    #expect(
      try known.and(Customer.self, id: "ada", .changed(change.change)).emits(erase) == [
        #"customer-ada PersonalDataErased {"customerId":"ada","events":2,"erasedAt":"2026-11-21T09:30:00Z"}"#
      ])
    let erased = try known.and(Customer.self, id: "ada", .personalDataErased(erasure))
    #expect(try erased.emits(erase) == [])
    #expect(throws: Rejection.customerIsErased("ada")) { try erased.emits(change) }
    #expect(throws: Rejection.customerExists("ada")) { try erased.emits(RegisterCustomer(registered)) }
    #expect(throws: Rejection.customerNotFound("ada")) { try givenNothing().emits(erase) }
  }

  @Test(
    "A SKU is trimmed and upper-cased",
    arguments: [
      (" lantern ", "LANTERN"), ("a.b_c-1 2", "A.B_C-1 2"),
      (String(repeating: "x", count: 64), String(repeating: "X", count: 64)),
    ])
  func normalForm(text: String, normal: String) { #expect(SKU(text)?.rawValue == normal) }

  @Test(
    "Invalid text is not a SKU",
    arguments: ["", "   ", "a  b", "a/b", "ä", "a\tb", "a\nb", String(repeating: "x", count: 65), "\u{0}"])
  func noForm(text: String) { #expect(SKU(text) == nil) }
}
