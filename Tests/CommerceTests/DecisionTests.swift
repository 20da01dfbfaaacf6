import Commerce
import EventSourcing
import JSON
import TestSupport
import Testing

private let lantern = ProductEvent.registered(
  ProductRegistered(sku: SKU("LANTERN")!, name: "Metal lantern", description: nil, unitPrice: 339, currency: "GBP"))
private let discontinued = ProductEvent.discontinued(ProductDiscontinued(sku: SKU("LANTERN")!))
private let placed = OrderEvent.placed(
  OrderPlaced(
    orderID: "o", customerID: nil, lines: [], total: 0, currency: "GBP", placedAt: Timestamp(microsecondsSince1970: 0)))
private let cancelled = OrderEvent.cancelled(OrderCancelled(orderID: "o", reason: "r"))

private func order(_ lines: [(String, Int64)]) -> PlaceOrder {
  PlaceOrder(
    orderID: "o", customerID: "ada", lines: lines.map { .init(sku: SKU($0.0)!, quantity: $0.1) },
    placedAt: Timestamp("2026-11-21T09:30:00Z")!, currency: "GBP")
}

@Suite("Decisions")
struct DecisionTests {
  @Test("a product is registered once")
  func register() throws {
    let command = RegisterProduct(
      ProductRegistered(sku: SKU("lantern")!, name: "L", description: "d", unitPrice: 1, currency: "GBP"))
    #expect(
      try Given().when(command) == [
        #"product-LANTERN ProductRegistered {"sku":"LANTERN","name":"L","description":"d","unitPrice":1,"currency":"GBP"}"#
      ])
    #expect(throws: CommerceRejection.productExists(SKU("LANTERN")!)) {
      try Given().event(lantern, of: Product.self, "LANTERN").when(command)
    }
  }

  @Test("a product is discontinued once; again, nothing happens")
  func discontinue() throws {
    let command = DiscontinueProduct(SKU("LANTERN")!)
    let known = Given().event(lantern, of: Product.self, "LANTERN")
    #expect(try known.when(command) == [#"product-LANTERN ProductDiscontinued {"sku":"LANTERN"}"#])
    #expect(try known.event(discontinued, of: Product.self, "LANTERN").when(command) == [])
    #expect(throws: CommerceRejection.productNotFound(SKU("LANTERN")!)) { try Given().when(command) }
  }

  @Test("a price is changed; to the price that it has, nothing happens")
  func changePrice() throws {
    let command = ChangePrice(SKU("LANTERN")!, unitPrice: 299)
    let known = Given().event(lantern, of: Product.self, "LANTERN")
    #expect(
      try known.when(command) == [#"product-LANTERN ProductPriceChanged {"sku":"LANTERN","unitPrice":299}"#])
    #expect(try known.when(ChangePrice(SKU("LANTERN")!, unitPrice: 339)) == [])
    #expect(throws: CommerceRejection.productNotFound(SKU("LANTERN")!)) { try Given().when(command) }
  }

  @Test("a product's snapshot says the same as its events")
  func snapshot() throws {
    var product = Product()
    let changed = ProductEvent.priceChanged(ProductPriceChanged(sku: SKU("LANTERN")!, unitPrice: 299))
    for event in [lantern, changed, discontinued] {
      product.apply(event)
      var json = JSONWriter()
      product.encodeSnapshot(into: &json)
      #expect(try Product(snapshot: JSON(parsing: json.bytes)) == product)
    }
    #expect(throws: EventDecodingError.self) { try Product(snapshot: JSON(parsing: Array("{}".utf8))) }
  }

  @Test("an order takes names and prices from the catalogue, also for the same product twice")
  func place() throws {
    let known = Given().event(lantern, of: Product.self, "LANTERN")
    #expect(
      try known.when(order([("lantern", 6), ("LANTERN", 1)])) == [
        #"order-o OrderPlaced {"orderId":"o","customerId":"ada","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":6,"unitPrice":339},{"sku":"LANTERN","name":"Metal lantern","quantity":1,"unitPrice":339}],"total":2373,"currency":"GBP","placedAt":"2026-11-21T09:30:00Z"}"#
      ])
  }

  @Test("every line that cannot be sold is named, with the reason")
  func unsaleable() {
    let given = Given().event(lantern, of: Product.self, "LANTERN").event(discontinued, of: Product.self, "LANTERN")
    #expect(
      throws: CommerceRejection.productsNotOnSale([
        .init(index: 0, sku: SKU("X")!, reason: .unknown), .init(index: 1, sku: SKU("LANTERN")!, reason: .discontinued),
      ])
    ) { try given.when(order([("X", 1), ("LANTERN", 1)])) }
  }

  @Test("an order id is used once")
  func exists() {
    let given = Given().event(lantern, of: Product.self, "LANTERN").event(placed, of: Order.self, "o")
    #expect(throws: CommerceRejection.orderExists("o")) { try given.when(order([("LANTERN", 1)])) }
  }

  @Test("a total that does not fit is refused, one that just fits is not")
  func overflow() throws {
    let dear = ProductEvent.registered(
      ProductRegistered(sku: SKU("D")!, name: "D", description: nil, unitPrice: 1_000_000_000_000, currency: "GBP"))
    let given = Given().event(dear, of: Product.self, "D")
    // 9 lines of 10^18 are below 2^63 - 1, 10 are above.
    #expect(try given.when(order(Array(repeating: ("D", 1_000_000), count: 9))).count == 1)
    #expect(throws: CommerceRejection.totalOverflows) {
      try given.when(order(Array(repeating: ("D", 1_000_000), count: 10)))
    }
  }

  @Test("an order is cancelled once; again, nothing happens")
  func cancel() throws {
    let command = CancelOrder(orderID: "o", reason: "changed my mind")
    let given = Given().event(placed, of: Order.self, "o")
    #expect(try given.when(command) == [#"order-o OrderCancelled {"orderId":"o","reason":"changed my mind"}"#])
    #expect(try given.event(cancelled, of: Order.self, "o").when(command) == [])
    #expect(throws: CommerceRejection.orderNotFound("o")) { try Given().when(command) }
  }

  @Test(
    "a sku is trimmed and upper-cased",
    arguments: [
      (" lantern ", "LANTERN"), ("a.b_c-1 2", "A.B_C-1 2"),
      (String(repeating: "x", count: 64), String(repeating: "X", count: 64)),
    ])
  func sku(text: String, normal: String) { #expect(SKU(text)?.rawValue == normal) }

  @Test(
    "what breaks the rule is no sku",
    arguments: ["", "   ", "a  b", "a/b", "ä", "a\tb", "a\nb", String(repeating: "x", count: 65), "\u{0}"])
  func noSKU(text: String) { #expect(SKU(text) == nil) }
}
