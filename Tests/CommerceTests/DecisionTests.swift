import Commerce
import CounterflowTesting
import EventSourcing
import JSON
import TestSupport
import Testing

@Suite("Decisions")
struct DecisionTests {
  @Test("A product is registered once")
  func register() throws {
    let command = RegisterProduct(
      ProductRegistered(
        sku: SKU("lantern")!, name: "L", description: "d", unitPrice: 1, currency: "GBP", tracksStock: true))
    #expect(
      try givenNothing().emits(command) == [
        #"product-LANTERN ProductRegistered {"sku":"LANTERN","name":"L","description":"d","unitPrice":1,"currency":"GBP","tracksStock":true}"#
      ])
    #expect(throws: Rejection.productExists(SKU("LANTERN")!)) {
      try givenNothing().and(Product.self, id: "LANTERN", lantern()).emits(command)
    }
  }

  @Test("A product is discontinued once, and a second time has no effect")
  func discontinue() throws {
    let command = DiscontinueProduct(SKU("LANTERN")!)
    let known = try givenNothing().and(Product.self, id: "LANTERN", lantern())
    #expect(try known.emits(command) == [#"product-LANTERN ProductDiscontinued {"sku":"LANTERN"}"#])
    #expect(try known.and(Product.self, id: "LANTERN", .discontinued(sku: sku)).emits(command) == [])
    #expect(throws: Rejection.productNotFound(SKU("LANTERN")!)) { try givenNothing().emits(command) }
  }

  @Test("A price is changed, and setting the current price again has no effect")
  func changePrice() throws {
    let command = ChangePrice(SKU("LANTERN")!, unitPrice: 299)
    let known = try givenNothing().and(Product.self, id: "LANTERN", lantern())
    #expect(
      try known.emits(command) == [#"product-LANTERN ProductPriceChanged {"sku":"LANTERN","unitPrice":299}"#])
    #expect(try known.emits(ChangePrice(SKU("LANTERN")!, unitPrice: 339)) == [])
    #expect(throws: Rejection.productNotFound(SKU("LANTERN")!)) { try givenNothing().emits(command) }
  }

  @Test("A product's snapshot has the same state as its events")
  func snapshot() throws {
    var product = Product()
    let changed = ProductEvent.priceChanged(ProductPriceChanged(sku: SKU("LANTERN")!, unitPrice: 299))
    var json = JSONWriter()
    for event in [
      lantern(tracksStock: true), changed, .discontinued(sku: sku), .stockReceived(sku: sku, quantity: 9),
      .stockReserved(moved),
    ] {
      product.apply(event)
      json = JSONWriter()
      try json.write(encoding: product)
      #expect(try JSON(parsing: json.bytes).decode() == product)
    }
    #expect(
      json.string
        == #"{"name":"Metal lantern","unitPrice":299,"isRegistered":true,"isDiscontinued":true,"tracksStock":true,"onHand":9,"reserved":6}"#
    )
  }

  @Test("An order takes names and prices from the catalogue, also with the same product twice")
  func place() throws {
    let known = try givenNothing().and(Product.self, id: "LANTERN", lantern())
    #expect(
      try known.emits(order([("lantern", 6), ("LANTERN", 1)])) == [
        #"order-o OrderPlaced {"orderId":"o","customerId":"ada","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":6,"unitPrice":339,"tracksStock":false},{"sku":"LANTERN","name":"Metal lantern","quantity":1,"unitPrice":339,"tracksStock":false}],"total":2373,"currency":"GBP","placedAt":"2026-11-21T09:30:00Z"}"#
      ])
  }

  @Test("A rejection names every line that is not on sale, with the reason")
  func unsaleable() throws {
    let given = try givenNothing().and(Product.self, id: "LANTERN", lantern()).and(
      Product.self, id: "LANTERN", .discontinued(sku: sku))
    #expect(
      throws: Rejection.productsNotOnSale([
        .init(index: 0, sku: SKU("X")!, reason: .unknown), .init(index: 1, sku: SKU("LANTERN")!, reason: .discontinued),
      ])
    ) { try given.emits(order([("X", 1), ("LANTERN", 1)])) }
  }

  @Test("An order id is used once")
  func exists() throws {
    let given = try givenNothing().and(Product.self, id: "LANTERN", lantern()).and(Order.self, id: "o", placed())
    #expect(throws: Rejection.orderExists("o")) { try given.emits(order([("LANTERN", 1)])) }
  }

  @Test("A total that exceeds the maximum is rejected, and the maximum itself is accepted")
  func overflow() throws {
    let dear = ProductEvent.registered(
      ProductRegistered(
        sku: SKU("D")!, name: "D", description: nil, unitPrice: 1_000_000_000_000, currency: "GBP", tracksStock: false))
    let given = try givenNothing().and(Product.self, id: "D", dear)
    // 10 lines of 10^12 are the maximum total. 100 lines of 10^18 overflow 64 bits.
    #expect(try given.emits(order(Array(repeating: ("D", 1), count: 10))).count == 1)
    for (quantity, count) in [(Int64(1), 11), (1_000_000, 100)] {
      #expect(throws: Rejection.totalOverflows) {
        try given.emits(order(Array(repeating: ("D", quantity), count: count)))
      }
    }
  }

  @Test("An order is cancelled once, and a second time has no effect")
  func cancel() throws {
    let command = CancelOrder(orderID: "o", reason: "changed my mind", skus: [sku])
    let given = try givenNothing().and(Order.self, id: "o", placed())
    #expect(try given.emits(command) == [#"order-o OrderCancelled {"orderId":"o","reason":"changed my mind"}"#])
    #expect(try given.and(Order.self, id: "o", cancelled).emits(command) == [])
    #expect(throws: Rejection.orderNotFound("o")) { try givenNothing().emits(command) }
  }

  @Test("Only details that differ are changed")
  func details() throws {
    let known = try givenNothing().product(lantern())
    let change = ChangeProductDetails(sku, name: "Metal lantern", description: "bright")
    #expect(
      try known.emits(change) == [#"product-LANTERN ProductDetailsChanged {"sku":"LANTERN","description":"bright"}"#])
    #expect(try known.emits(ChangeProductDetails(sku, name: "Metal lantern", description: nil)) == [])
    #expect(throws: Rejection.productNotFound(sku)) { try givenNothing().emits(change) }
  }

  @Test("A discontinued product is reinstated once, and a second time has no effect")
  func reinstate() throws {
    let known = try givenNothing().product(lantern(), .discontinued(sku: sku))
    #expect(try known.emits(ReinstateProduct(sku)) == [#"product-LANTERN ProductReinstated {"sku":"LANTERN"}"#])
    #expect(try known.product(.reinstated(sku: sku)).emits(ReinstateProduct(sku)) == [])
    #expect(try known.product(.reinstated(sku: sku)).emits(order([("LANTERN", 1)])).count == 1)
  }

  @Test("Stock is received and adjusted, and never falls below the reserved quantity")
  func stock() throws {
    let known = try givenNothing().product(
      lantern(tracksStock: true), .stockReceived(sku: sku, quantity: 10), .stockReserved(moved))
    #expect(
      try known.emits(ReceiveStock(sku, quantity: 5)) == [
        #"product-LANTERN StockReceived {"sku":"LANTERN","quantity":5}"#
      ])
    #expect(
      try known.emits(AdjustStock(sku, quantity: -4, reason: "lost")) == [
        #"product-LANTERN StockAdjusted {"sku":"LANTERN","quantity":-4,"reason":"lost"}"#
      ])
    #expect(throws: Rejection.stockBelowReserved(sku, onHand: 10, reserved: 6)) {
      try known.emits(AdjustStock(sku, quantity: -5, reason: "lost"))
    }
    #expect(throws: Rejection.stockNotTracked(sku)) {
      try givenNothing().product(lantern()).emits(ReceiveStock(sku, quantity: 1))
    }
    #expect(throws: Rejection.stockNotTracked(sku)) {
      try givenNothing().product(lantern()).emits(AdjustStock(sku, quantity: 1, reason: "r"))
    }
    #expect(throws: Rejection.stockOverflows(sku)) {
      try known.product(.stockReceived(sku: sku, quantity: Int64.max - 10)).emits(ReceiveStock(sku, quantity: 1))
    }
  }

  @Test("An order reserves the stock of all its lines or of none, and may set its own price")
  func reserve() throws {
    let known = try givenNothing().product(lantern(tracksStock: true), .stockReceived(sku: sku, quantity: 7))
    #expect(
      try known.emits(order([("LANTERN", 4), ("lantern", 3)], price: 100)) == [
        #"product-LANTERN StockReserved {"sku":"LANTERN","orderId":"o","quantity":7}"#,
        #"order-o OrderPlaced {"orderId":"o","customerId":"ada","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":4,"unitPrice":100,"tracksStock":true},{"sku":"LANTERN","name":"Metal lantern","quantity":3,"unitPrice":100,"tracksStock":true}],"total":700,"currency":"GBP","placedAt":"2026-11-21T09:30:00Z"}"#,
      ])
    #expect(
      throws: Rejection.stockLacking([.init(index: 0, sku: sku, ordered: 8, available: 7)])
    ) { try known.emits(order([("LANTERN", 4), ("LANTERN", 4)])) }
  }

  @Test("An order is paid once, and only with its total")
  func pay() throws {
    let pay = PayOrder(orderID: "o", amount: 2034, reference: "p")
    let known = try givenNothing().order(placed())
    #expect(try known.emits(pay) == [#"order-o OrderPaid {"orderId":"o","amount":2034,"reference":"p"}"#])
    for later in try [known.order(paid), known.order(paid, shipped), known.order(paid, shipped, delivered)] {
      #expect(try later.emits(pay) == [])
      #expect(throws: Rejection.amountDiffers("o", total: 2034, amount: 1)) {
        try later.emits(PayOrder(orderID: "o", amount: 1, reference: nil))
      }
    }
    #expect(throws: Rejection.amountDiffers("o", total: 2034, amount: 1)) {
      try known.emits(PayOrder(orderID: "o", amount: 1, reference: nil))
    }
    #expect(throws: Rejection.orderIsCancelled("o")) { try known.order(cancelled).emits(pay) }
    #expect(throws: Rejection.orderNotFound("o")) { try givenNothing().emits(pay) }
  }

  @Test("A paid order is shipped with its stock and then delivered, each once")
  func shipAndDeliver() throws {
    let ship = ShipOrder(orderID: "o", carrier: "RM", trackingCode: nil, skus: [sku])
    let known = try givenNothing().product(
      lantern(tracksStock: true), .stockReceived(sku: sku, quantity: 6), .stockReserved(moved)
    )
    .order(placed(tracksStock: true))
    #expect(throws: Rejection.orderNotPaid("o")) { try known.emits(ship) }
    #expect(
      try known.order(paid).emits(ship) == [
        #"product-LANTERN StockShipped {"sku":"LANTERN","orderId":"o","quantity":6}"#,
        #"order-o OrderShipped {"orderId":"o","carrier":"RM"}"#,
      ])
    #expect(try known.order(paid, shipped).emits(ship) == [])
    #expect(throws: Rejection.orderIsCancelled("o")) { try known.order(cancelled).emits(ship) }
    #expect(throws: Rejection.orderNotFound("o")) { try givenNothing().emits(ship) }
    #expect(throws: Rejection.changedMeanwhile("o")) {
      try known.order(paid).emits(ShipOrder(orderID: "o", carrier: nil, trackingCode: nil, skus: []))
    }
    let deliver = DeliverOrder(orderID: "o")
    #expect(throws: Rejection.orderNotShipped("o")) { try known.order(paid).emits(deliver) }
    #expect(try known.order(paid, shipped).emits(deliver) == [#"order-o OrderDelivered {"orderId":"o"}"#])
    #expect(try known.order(paid, shipped, delivered).emits(deliver) == [])
    #expect(throws: Rejection.orderIsCancelled("o")) { try known.order(cancelled).emits(deliver) }
    #expect(throws: Rejection.orderNotFound("o")) { try givenNothing().emits(deliver) }
  }

  @Test("A cancellation releases the stock, and a shipped order cannot be cancelled")
  func release() throws {
    let cancel = CancelOrder(orderID: "o", reason: nil, skus: [sku])
    let known = try givenNothing().product(
      lantern(tracksStock: true), .stockReceived(sku: sku, quantity: 6), .stockReserved(moved)
    )
    .order(placed(tracksStock: true))
    for open in try [known, known.order(paid)] {
      #expect(
        try open.emits(cancel) == [
          #"product-LANTERN StockReleased {"sku":"LANTERN","orderId":"o","quantity":6}"#,
          #"order-o OrderCancelled {"orderId":"o"}"#,
        ])
    }
    #expect(throws: Rejection.orderIsShipped("o")) { try known.order(paid, shipped).emits(cancel) }
    #expect(throws: Rejection.orderIsShipped("o")) { try known.order(paid, shipped, delivered).emits(cancel) }
  }
}
