import Commerce
import EventSourcing
import JSON
import TestSupport
import Testing

private let sku = SKU("LANTERN")!

private func lantern(tracksStock: Bool = false) -> ProductEvent {
  .registered(
    ProductRegistered(
      sku: sku, name: "Metal lantern", description: nil, unitPrice: 339, currency: "GBP", tracksStock: tracksStock))
}

private let time = Timestamp("2026-11-21T09:30:00Z")!

private func placed(_ quantities: [Int64] = [6], tracksStock: Bool = false) -> OrderEvent {
  .placed(
    OrderPlaced(
      orderID: "o", customerID: "ada", country: "France",
      lines: quantities.map {
        .init(sku: sku, name: "Metal lantern", quantity: $0, unitPrice: 339, tracksStock: tracksStock)
      }, total: quantities.reduce(0, +) * 339, currency: "GBP", placedAt: time))
}
private let paid = OrderEvent.paid(OrderPaid(orderID: "o", amount: 2034, reference: nil))
private let shipped = OrderEvent.shipped(OrderShipped(orderID: "o", carrier: nil, trackingCode: nil))
private let delivered = OrderEvent.delivered(orderID: "o")
private let cancelled = OrderEvent.cancelled(OrderCancelled(orderID: "o", reason: "r"))
private let moved = StockMoved(sku: sku, orderID: "o", quantity: 6)

private func order(_ lines: [(String, Int64)], price: Int64? = nil) -> PlaceOrder {
  PlaceOrder(
    orderID: "o", customerID: "ada", country: nil,
    lines: lines.map { .init(sku: SKU($0.0)!, quantity: $0.1, unitPrice: price) }, placedAt: time, currency: "GBP")
}

private func comeBack(order: String?, _ lines: [(String, Int64)], price: Int64? = nil) -> RecordReturn {
  RecordReturn(
    returnID: "r", orderID: order, customerID: nil, country: nil, reason: nil,
    lines: lines.map { .init(sku: SKU($0.0)!, quantity: $0.1, unitPrice: price) }, returnedAt: time, currency: "GBP")
}

extension Given {
  fileprivate func product(_ events: ProductEvent...) -> Given {
    events.reduce(self) { $0.event($1, of: Product.self, "LANTERN") }
  }
  fileprivate func order(_ events: OrderEvent...) -> Given { events.reduce(self) { $0.event($1, of: Order.self, "o") } }
}

@Suite("Decisions")
struct DecisionTests {
  @Test("a product is registered once")
  func register() throws {
    let command = RegisterProduct(
      ProductRegistered(
        sku: SKU("lantern")!, name: "L", description: "d", unitPrice: 1, currency: "GBP", tracksStock: true))
    #expect(
      try Given().when(command) == [
        #"product-LANTERN ProductRegistered {"sku":"LANTERN","name":"L","description":"d","unitPrice":1,"currency":"GBP","tracksStock":true}"#
      ])
    #expect(throws: CommerceRejection.productExists(SKU("LANTERN")!)) {
      try Given().event(lantern(), of: Product.self, "LANTERN").when(command)
    }
  }

  @Test("a product is discontinued once; again, nothing happens")
  func discontinue() throws {
    let command = DiscontinueProduct(SKU("LANTERN")!)
    let known = Given().event(lantern(), of: Product.self, "LANTERN")
    #expect(try known.when(command) == [#"product-LANTERN ProductDiscontinued {"sku":"LANTERN"}"#])
    #expect(try known.event(.discontinued(sku), of: Product.self, "LANTERN").when(command) == [])
    #expect(throws: CommerceRejection.productNotFound(SKU("LANTERN")!)) { try Given().when(command) }
  }

  @Test("a price is changed; to the price that it has, nothing happens")
  func changePrice() throws {
    let command = ChangePrice(SKU("LANTERN")!, unitPrice: 299)
    let known = Given().event(lantern(), of: Product.self, "LANTERN")
    #expect(
      try known.when(command) == [#"product-LANTERN ProductPriceChanged {"sku":"LANTERN","unitPrice":299}"#])
    #expect(try known.when(ChangePrice(SKU("LANTERN")!, unitPrice: 339)) == [])
    #expect(throws: CommerceRejection.productNotFound(SKU("LANTERN")!)) { try Given().when(command) }
  }

  @Test("a product's snapshot says the same as its events")
  func snapshot() throws {
    var product = Product()
    let changed = ProductEvent.priceChanged(ProductPriceChanged(sku: SKU("LANTERN")!, unitPrice: 299))
    for event in [
      lantern(tracksStock: true), changed, .discontinued(sku), .stockReceived(sku, quantity: 9), .stockReserved(moved),
    ] {
      product.apply(event)
      var json = JSONWriter()
      product.encodeSnapshot(into: &json)
      #expect(try Product(snapshot: JSON(parsing: json.bytes)) == product)
    }
    #expect(throws: EventDecodingError.self) { try Product(snapshot: JSON(parsing: Array("{}".utf8))) }
  }

  @Test("an order takes names and prices from the catalogue, also for the same product twice")
  func place() throws {
    let known = Given().event(lantern(), of: Product.self, "LANTERN")
    #expect(
      try known.when(order([("lantern", 6), ("LANTERN", 1)])) == [
        #"order-o OrderPlaced {"orderId":"o","customerId":"ada","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":6,"unitPrice":339,"tracksStock":false},{"sku":"LANTERN","name":"Metal lantern","quantity":1,"unitPrice":339,"tracksStock":false}],"total":2373,"currency":"GBP","placedAt":"2026-11-21T09:30:00Z"}"#
      ])
  }

  @Test("every line that cannot be sold is named, with the reason")
  func unsaleable() {
    let given = Given().event(lantern(), of: Product.self, "LANTERN").event(
      .discontinued(sku), of: Product.self, "LANTERN")
    #expect(
      throws: CommerceRejection.productsNotOnSale([
        .init(index: 0, sku: SKU("X")!, reason: .unknown), .init(index: 1, sku: SKU("LANTERN")!, reason: .discontinued),
      ])
    ) { try given.when(order([("X", 1), ("LANTERN", 1)])) }
  }

  @Test("an order id is used once")
  func exists() {
    let given = Given().event(lantern(), of: Product.self, "LANTERN").event(placed(), of: Order.self, "o")
    #expect(throws: CommerceRejection.orderExists("o")) { try given.when(order([("LANTERN", 1)])) }
  }

  @Test("a total that does not fit is refused, one that just fits is not")
  func overflow() throws {
    let dear = ProductEvent.registered(
      ProductRegistered(
        sku: SKU("D")!, name: "D", description: nil, unitPrice: 1_000_000_000_000, currency: "GBP", tracksStock: false))
    let given = Given().event(dear, of: Product.self, "D")
    // 10 lines of 10^12 come to the most that is taken; and 100 of 10^18 do not even fit in 64 bits.
    #expect(try given.when(order(Array(repeating: ("D", 1), count: 10))).count == 1)
    for (quantity, count) in [(Int64(1), 11), (1_000_000, 100)] {
      #expect(throws: CommerceRejection.totalOverflows) {
        try given.when(order(Array(repeating: ("D", quantity), count: count)))
      }
    }
  }

  @Test("an order is cancelled once; again, nothing happens")
  func cancel() throws {
    let command = CancelOrder(orderID: "o", reason: "changed my mind", skus: [sku])
    let given = Given().event(placed(), of: Order.self, "o")
    #expect(try given.when(command) == [#"order-o OrderCancelled {"orderId":"o","reason":"changed my mind"}"#])
    #expect(try given.event(cancelled, of: Order.self, "o").when(command) == [])
    #expect(throws: CommerceRejection.orderNotFound("o")) { try Given().when(command) }
  }

  @Test("details are changed where they are others")
  func details() throws {
    let known = Given().product(lantern())
    let change = ChangeProductDetails(sku, name: "Metal lantern", description: "bright")
    #expect(
      try known.when(change) == [#"product-LANTERN ProductDetailsChanged {"sku":"LANTERN","description":"bright"}"#])
    #expect(try known.when(ChangeProductDetails(sku, name: "Metal lantern", description: nil)) == [])
    #expect(throws: CommerceRejection.productNotFound(sku)) { try Given().when(change) }
  }

  @Test("what is discontinued can be reinstated, once")
  func reinstate() throws {
    let known = Given().product(lantern(), .discontinued(sku))
    #expect(try known.when(ReinstateProduct(sku)) == [#"product-LANTERN ProductReinstated {"sku":"LANTERN"}"#])
    #expect(try known.product(.reinstated(sku)).when(ReinstateProduct(sku)) == [])
    #expect(try known.product(.reinstated(sku)).when(order([("LANTERN", 1)])).count == 1)
  }

  @Test("stock comes in and is corrected, and never falls below what is reserved")
  func stock() throws {
    let known = Given().product(
      lantern(tracksStock: true), .stockReceived(sku, quantity: 10), .stockReserved(moved))
    #expect(
      try known.when(ReceiveStock(sku, quantity: 5)) == [
        #"product-LANTERN StockReceived {"sku":"LANTERN","quantity":5}"#
      ])
    #expect(
      try known.when(AdjustStock(sku, quantity: -4, reason: "lost")) == [
        #"product-LANTERN StockAdjusted {"sku":"LANTERN","quantity":-4,"reason":"lost"}"#
      ])
    #expect(throws: CommerceRejection.stockBelowReserved(sku, onHand: 10, reserved: 6)) {
      try known.when(AdjustStock(sku, quantity: -5, reason: "lost"))
    }
    #expect(throws: CommerceRejection.stockNotTracked(sku)) {
      try Given().product(lantern()).when(ReceiveStock(sku, quantity: 1))
    }
    #expect(throws: CommerceRejection.stockNotTracked(sku)) {
      try Given().product(lantern()).when(AdjustStock(sku, quantity: 1, reason: "r"))
    }
    #expect(throws: CommerceRejection.stockOverflows(sku)) {
      try known.product(.stockReceived(sku, quantity: Int64.max - 10)).when(ReceiveStock(sku, quantity: 1))
    }
  }

  @Test("an order reserves the stock of all its lines, or none; a price may be another")
  func reserve() throws {
    let known = Given().product(lantern(tracksStock: true), .stockReceived(sku, quantity: 7))
    #expect(
      try known.when(order([("LANTERN", 4), ("lantern", 3)], price: 100)) == [
        #"product-LANTERN StockReserved {"sku":"LANTERN","orderId":"o","quantity":7}"#,
        #"order-o OrderPlaced {"orderId":"o","customerId":"ada","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":4,"unitPrice":100,"tracksStock":true},{"sku":"LANTERN","name":"Metal lantern","quantity":3,"unitPrice":100,"tracksStock":true}],"total":700,"currency":"GBP","placedAt":"2026-11-21T09:30:00Z"}"#,
      ])
    #expect(
      throws: CommerceRejection.stockLacking([.init(index: 0, sku: sku, ordered: 8, available: 7)])
    ) { try known.when(order([("LANTERN", 4), ("LANTERN", 4)])) }
  }

  @Test("an order is paid once, and what it comes to")
  func pay() throws {
    let pay = PayOrder(orderID: "o", amount: 2034, reference: "p")
    let known = Given().order(placed())
    #expect(try known.when(pay) == [#"order-o OrderPaid {"orderId":"o","amount":2034,"reference":"p"}"#])
    for later in [known.order(paid), known.order(paid, shipped), known.order(paid, shipped, delivered)] {
      #expect(try later.when(pay) == [])
      #expect(throws: CommerceRejection.amountDiffers("o", total: 2034, amount: 1)) {
        try later.when(PayOrder(orderID: "o", amount: 1, reference: nil))
      }
    }
    #expect(throws: CommerceRejection.amountDiffers("o", total: 2034, amount: 1)) {
      try known.when(PayOrder(orderID: "o", amount: 1, reference: nil))
    }
    #expect(throws: CommerceRejection.orderIsCancelled("o")) { try known.order(cancelled).when(pay) }
    #expect(throws: CommerceRejection.orderNotFound("o")) { try Given().when(pay) }
  }

  @Test("a paid order is shipped with its stock, and then delivered, each once")
  func shipAndDeliver() throws {
    let ship = ShipOrder(orderID: "o", carrier: "RM", trackingCode: nil, skus: [sku])
    let known = Given().product(lantern(tracksStock: true), .stockReceived(sku, quantity: 6), .stockReserved(moved))
      .order(placed(tracksStock: true))
    #expect(throws: CommerceRejection.orderNotPaid("o")) { try known.when(ship) }
    #expect(
      try known.order(paid).when(ship) == [
        #"product-LANTERN StockShipped {"sku":"LANTERN","orderId":"o","quantity":6}"#,
        #"order-o OrderShipped {"orderId":"o","carrier":"RM"}"#,
      ])
    #expect(try known.order(paid, shipped).when(ship) == [])
    #expect(throws: CommerceRejection.orderIsCancelled("o")) { try known.order(cancelled).when(ship) }
    #expect(throws: CommerceRejection.orderNotFound("o")) { try Given().when(ship) }
    #expect(throws: CommerceRejection.changedMeanwhile("o")) {
      try known.order(paid).when(ShipOrder(orderID: "o", carrier: nil, trackingCode: nil, skus: []))
    }
    let deliver = DeliverOrder(orderID: "o")
    #expect(throws: CommerceRejection.orderNotShipped("o")) { try known.order(paid).when(deliver) }
    #expect(try known.order(paid, shipped).when(deliver) == [#"order-o OrderDelivered {"orderId":"o"}"#])
    #expect(try known.order(paid, shipped, delivered).when(deliver) == [])
    #expect(throws: CommerceRejection.orderIsCancelled("o")) { try known.order(cancelled).when(deliver) }
    #expect(throws: CommerceRejection.orderNotFound("o")) { try Given().when(deliver) }
  }

  @Test("a cancellation releases the stock, as long as nothing was shipped")
  func release() throws {
    let cancel = CancelOrder(orderID: "o", reason: nil, skus: [sku])
    let known = Given().product(lantern(tracksStock: true), .stockReceived(sku, quantity: 6), .stockReserved(moved))
      .order(placed(tracksStock: true))
    for open in [known, known.order(paid)] {
      #expect(
        try open.when(cancel) == [
          #"product-LANTERN StockReleased {"sku":"LANTERN","orderId":"o","quantity":6}"#,
          #"order-o OrderCancelled {"orderId":"o"}"#,
        ])
    }
    #expect(throws: CommerceRejection.orderIsShipped("o")) { try known.order(paid, shipped).when(cancel) }
    #expect(throws: CommerceRejection.orderIsShipped("o")) { try known.order(paid, shipped, delivered).when(cancel) }
  }

  @Test("goods of a shipped order come back at its prices, and never more than it had")
  func returns() throws {
    let known = Given().product(lantern(tracksStock: true)).order(placed([4, 2], tracksStock: true), paid, shipped)
    #expect(
      try known.when(comeBack(order: "o", [("LANTERN", 5)])) == [
        #"order-o OrderItemsReturned {"orderId":"o","returnId":"r","items":[{"line":0,"sku":"LANTERN","quantity":4,"unitPrice":339},{"line":1,"sku":"LANTERN","quantity":1,"unitPrice":339}],"total":1695,"returnedAt":"2026-11-21T09:30:00Z"}"#,
        #"product-LANTERN StockReturned {"sku":"LANTERN","returnId":"r","quantity":5}"#,
        #"return-r ReturnRecorded {"returnId":"r","orderId":"o","customerId":"ada","country":"France","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":4,"unitPrice":339},{"sku":"LANTERN","name":"Metal lantern","quantity":1,"unitPrice":339}],"total":1695,"currency":"GBP","returnedAt":"2026-11-21T09:30:00Z"}"#,
      ])
    let once = OrderEvent.itemsReturned(
      OrderItemsReturned(
        orderID: "o", returnID: "r0", items: [.init(line: 0, sku: sku, quantity: 4, unitPrice: 339)], total: 1356,
        returnedAt: time))
    let later = known.order(once)
    #expect(try later.when(comeBack(order: "o", [("LANTERN", 2)])).count == 3)
    #expect(
      throws: CommerceRejection.returnExceedsOrder(
        order: "o",
        [
          .init(index: 1, sku: sku, ordered: 2, available: 1),
          .init(index: 2, sku: SKU("X")!, ordered: 1, available: 0),
        ])
    ) { try later.when(comeBack(order: "o", [("LANTERN", 1), ("LANTERN", 2), ("X", 1)])) }
    #expect(throws: CommerceRejection.orderNotShipped("o")) {
      try Given().order(placed(), paid).when(comeBack(order: "o", [("LANTERN", 1)]))
    }
    #expect(throws: CommerceRejection.returnedOrderUnknown("o")) {
      try Given().when(comeBack(order: "o", [("LANTERN", 1)]))
    }
  }

  @Test("a credit note has prices of its own, and goods that are known")
  func creditNote() throws {
    let command = comeBack(order: nil, [("LANTERN", 2)], price: 100)
    let known = Given().product(lantern(tracksStock: true), .discontinued(sku))
    let events = try known.when(command)
    #expect(
      events == [
        #"product-LANTERN StockReturned {"sku":"LANTERN","returnId":"r","quantity":2}"#,
        #"return-r ReturnRecorded {"returnId":"r","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":2,"unitPrice":100}],"total":200,"currency":"GBP","returnedAt":"2026-11-21T09:30:00Z"}"#,
      ])
    #expect(throws: CommerceRejection.productsUnknown([.init(index: 0, sku: sku, reason: .unknown)])) {
      try Given().when(command)
    }
    let recorded = ReturnEvent.recorded(
      ReturnRecorded(
        returnID: "r", orderID: nil, customerID: nil, country: nil, reason: nil, lines: [], total: 0, currency: "GBP",
        returnedAt: time))
    #expect(throws: CommerceRejection.returnExists("r")) {
      try known.event(recorded, of: Return.self, "r").when(command)
    }
    #expect(throws: CommerceRejection.totalOverflows) {
      try known.when(
        comeBack(order: nil, Array(repeating: ("LANTERN", 1_000_000), count: 10), price: 1_000_000_000_000))
    }
  }

  @Test("whatever is commanded, stock adds up and is never below what is reserved, nor money", arguments: 0..<50)
  func anything(seed: UInt64) throws {
    var random = SplitMix(state: seed)
    var given = Given().product(lantern(tracksStock: true))
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
      let emitted: [Decision.Emitted]
      do { emitted = try given.decide(command) } catch is CommerceRejection { continue }
      for emission in emitted {
        switch emission.event {
        case let event as ProductEvent:
          given = given.product(event)
          product.apply(event)
          switch event {
          case .stockReceived(_, let quantity): received += quantity
          case .stockAdjusted(_, let quantity, _): adjusted += quantity
          case .stockReturned(_, _, let quantity): returned += quantity
          case .stockShipped(let moved): shipped += moved.quantity
          default: break
          }
        case let event as OrderEvent:
          given = given.event(event, of: Order.self, id)
          orders[place].apply(event)
          if case .itemsReturned(let items) = event { returns += items.total }
        case let event as ReturnEvent:
          guard case .recorded(let recorded) = event else { break }
          returns -= recorded.total
        default: Issue.record("an event of another kind")
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
      // What orders say that came back is what returns say.
      #expect(returns == 0)
    }
  }

  @Test("a customer is registered once, changed while not erased, and erased once")
  func customers() throws {
    let registered = CustomerRegistered(customerID: "ada", sealed: "x", country: "France")
    #expect(
      try Given().when(RegisterCustomer(registered)) == [
        #"customer-ada CustomerRegistered {"customerId":"ada","sealed":"x","country":"France"}"#
      ])
    let known = Given().event(.registered(registered), of: Customer.self, "ada")
    #expect(throws: CommerceRejection.customerExists("ada")) { try known.when(RegisterCustomer(registered)) }
    let change = ChangeCustomer(CustomerChanged(customerID: "ada", sealed: "y", country: nil))
    #expect(try known.when(change) == [#"customer-ada CustomerChanged {"customerId":"ada","sealed":"y"}"#])
    #expect(try known.when(ChangeCustomer(CustomerChanged(customerID: "ada", sealed: nil, country: "France"))) == [])
    #expect(throws: CommerceRejection.customerNotFound("ada")) { try Given().when(change) }
    let erasure = PersonalDataErased(customerID: "ada", events: 2, erasedAt: time, reason: nil)
    let erase = ErasePersonalData(erasure)
    #expect(throws: CommerceRejection.changedMeanwhile("ada")) { try known.when(erase) }
    #expect(
      try known.event(.changed(change.change), of: Customer.self, "ada").when(erase) == [
        #"customer-ada PersonalDataErased {"customerId":"ada","events":2,"erasedAt":"2026-11-21T09:30:00Z"}"#
      ])
    let erased = known.event(.personalDataErased(erasure), of: Customer.self, "ada")
    #expect(try erased.when(erase) == [])
    #expect(throws: CommerceRejection.customerIsErased("ada")) { try erased.when(change) }
    #expect(throws: CommerceRejection.customerExists("ada")) { try erased.when(RegisterCustomer(registered)) }
    #expect(throws: CommerceRejection.customerNotFound("ada")) { try Given().when(erase) }
  }

  @Test(
    "a sku is trimmed and upper-cased",
    arguments: [
      (" lantern ", "LANTERN"), ("a.b_c-1 2", "A.B_C-1 2"),
      (String(repeating: "x", count: 64), String(repeating: "X", count: 64)),
    ])
  func normalForm(text: String, normal: String) { #expect(SKU(text)?.rawValue == normal) }

  @Test(
    "what breaks the rule is no sku",
    arguments: ["", "   ", "a  b", "a/b", "ä", "a\tb", "a\nb", String(repeating: "x", count: 65), "\u{0}"])
  func noForm(text: String) { #expect(SKU(text) == nil) }
}
