import Commerce
import CounterflowTesting
import EventSourcing
import Failures
import JSON
import TestSupport
import Testing

@testable import CommerceReadModels
@testable import Projections

private let lantern = ProductEvent.registered(
  ProductRegistered(
    sku: SKU("LANTERN")!, name: "Metal lantern", description: nil, unitPrice: 339, currency: "GBP",
    tracksStock: true))

private func placed(_ id: String, customer: String?) -> OrderEvent {
  .placed(
    OrderPlaced(
      orderID: id, customerID: customer, country: "France",
      lines: [.init(sku: SKU("LANTERN")!, name: "Metal lantern", quantity: 6, unitPrice: 339, tracksStock: true)],
      total: 2034,
      currency: "GBP", placedAt: Timestamp("2026-11-21T09:30:00Z")!))
}

@Suite("Read models")
struct ProjectionTests {
  @Test("An order's row shows the placed order and then its cancellation")
  func orders() throws {
    let documents = try given(Product.self, id: "LANTERN", lantern)
      .and(Order.self, id: "1", placed("1", customer: "ada")).and(Order.self, id: "2", placed("2", customer: nil))
      .and(Order.self, id: "1", .cancelled(OrderCancelled(orderID: "1", reason: "r")))
      .rows(of: Orders())
    #expect(documents.keys == ["1", "2"])
    var order = try #require(documents["1"])
    #expect(order.timeline.map(\.status) == ["placed", "cancelled"])
    // This time is from the store's clock.
    order.timeline.removeLast()
    #expect(
      String(decoding: try Orders.document(of: order), as: UTF8.self)
        == #"{"orderId":"1","customerId":"ada","country":"France","status":"cancelled","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":6,"unitPrice":339,"lineTotal":2034,"returned":0}],"total":2034,"returnedTotal":0,"currency":"GBP","placedAt":"2026-11-21T09:30:00Z","paymentReference":null,"carrier":null,"trackingCode":null,"cancellationReason":"r","timeline":[{"status":"placed","at":"2026-11-21T09:30:00Z"}],"version":2}"#
    )
    #expect(try #require(try documents.document("2")).contains(#""customerId":null"#))
  }

  @Test("A product's row shows it as registered and then as discontinued")
  func catalogue() throws {
    let documents = try given(Product.self, id: "LANTERN", lantern)
      .and(Order.self, id: "1", placed("1", customer: nil))
      .and(Product.self, id: "LANTERN", .discontinued(sku: SKU("LANTERN")!))
      .rows(of: Catalogue())
    #expect(documents.keys == ["LANTERN"])
    #expect(
      try documents.document("LANTERN")
        == #"{"sku":"LANTERN","name":"Metal lantern","description":null,"unitPrice":339,"currency":"GBP","status":"discontinued","stock":{"onHand":0,"reserved":0,"available":0},"version":2}"#
    )
  }

  @Test("The whole life of an order shows in the orders, the catalogue and the sales totals")
  func life() throws {
    let sku = SKU("LANTERN")!
    let moved = StockMoved(sku: sku, orderID: "1", quantity: 6)
    let returnedAt = Timestamp("2026-12-01T00:00:00Z")!
    let items = OrderItemsReturned(
      orderID: "1", returnID: "1", items: [.init(line: 0, sku: sku, quantity: 2, unitPrice: 339)], total: 678,
      returnedAt: returnedAt)
    let recorded = ReturnRecorded(
      returnID: "1", orderID: "1", customerID: "ada", country: "France", reason: nil,
      lines: [.init(sku: sku, name: "Metal lantern", quantity: 2, unitPrice: 339)], total: 678, currency: "GBP",
      returnedAt: returnedAt)
    let history = try given(
      Product.self, id: "LANTERN", lantern, .stockReceived(sku: sku, quantity: 10), .stockReserved(moved)
    )
    .and(Order.self, id: "1", placed("1", customer: "ada"))
    .and(
      Order.self, id: "2", placed("2", customer: nil), .cancelled(OrderCancelled(orderID: "2", reason: nil))
    )
    .and(Order.self, id: "1", .paid(OrderPaid(orderID: "1", amount: 2034, reference: "p")))
    .and(Product.self, id: "LANTERN", .stockShipped(moved))
    .and(
      Order.self, id: "1", .shipped(OrderShipped(orderID: "1", carrier: "RM", trackingCode: "7")),
      .delivered(orderID: "1")
    )
    .and(Product.self, id: "LANTERN", .stockReturned(sku: sku, returnID: "1", quantity: 2))
    .and(Order.self, id: "1", .itemsReturned(items)).and(Return.self, id: "1", .recorded(recorded))
    let order = try #require(try history.rows(of: Orders())["1"])
    #expect(order.timeline.map(\.status) == ["placed", "paid", "shipped", "delivered"])
    #expect(order.lines[0].returned == 2 && order.returnedTotal == 678 && order.version == 5)
    #expect(order.carrier == "RM" && order.trackingCode == "7" && order.paymentReference == "p")
    let product = try #require(try history.rows(of: Catalogue())["LANTERN"])
    #expect(product.stock?.onHand == 6 && product.stock?.reserved == 0)
    let sales = try history.rows(of: Sales())
    #expect(
      sales.totals("sales_days") == [
        ["2026-11-21", "France"]: [1, 6, 2034, 2034, 0], ["2026-12-01", "France"]: [0, 0, 0, 0, 678],
      ])
    #expect(
      sales.totals("sales_products") == [
        ["2026-11-21", "France", "LANTERN"]: [6, 2034, 0], ["2026-12-01", "France", "LANTERN"]: [0, 0, 678],
      ])
    #expect(sales.totals("sales_totals") == [["LANTERN"]: [6]])
    #expect(sales.totals("sales_customers") == [["ada"]: [1, 2034, 678]])
    #expect(try history.rows(of: Returns()).keys == ["1"])
  }

  @Test(
    "Search text ignores case and accents",
    arguments: [("Café  CRÈME", " cafe creme"), ("ﬁve-o'clock", " five-o five o clock"), ("ŁÓDŹ", " łodz"), ("", "")])
  func searchText(text: String, normal: String) { #expect(SearchText.normal(text) == normal) }

  @Test("An unknown event is an error, and events of other categories are ignored")
  func unknown() throws {
    let event = { (stream: String) in
      RecordedEvent(
        position: Position(1), stream: StreamID(rawValue: stream), version: Version(1), hash: 0, id: .v7(),
        type: "Teleported", schemaVersion: 1, data: Array("{}".utf8), metadata: [], recordedAt: .now)
    }
    let faults = [
      #expect(throws: ProjectionFault.self) { try Orders().fold([event("order-1")], load: { _ in [:] }) },
      #expect(throws: ProjectionFault.self) {
        try Catalogue().fold([event("product-1")], load: { _ in [:] })
      },
    ]
    for fault in faults {
      // It halts the partition until a build that knows the event runs, and parks no stream.
      #expect(fault?.failureKind == .programmingError && fault?.underlying is EventDecodingError)
    }
    #expect(try Orders().fold([event("parcel-1")], load: { _ in [:] }).isEmpty)
  }
}
