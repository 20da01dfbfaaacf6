import Commerce
import EventSourcing
import JSON
import TestSupport
import Testing

@testable import CommerceReadModels
@testable import Projections

private let lantern = ProductEvent.registered(
  ProductRegistered(sku: SKU("LANTERN")!, name: "Metal lantern", description: nil, unitPrice: 339, currency: "GBP"))

private func placed(_ id: String, customer: String?) -> OrderEvent {
  .placed(
    OrderPlaced(
      orderID: id, customerID: customer,
      lines: [.init(sku: SKU("LANTERN")!, name: "Metal lantern", quantity: 6, unitPrice: 339)], total: 2034,
      currency: "GBP", placedAt: Timestamp("2026-11-21T09:30:00Z")!))
}

@Suite("Read models")
struct ProjectionTests {
  @Test("an order reads as it was placed, and then as cancelled")
  func orders() throws {
    let documents = try Rows(
      of: OrdersProjection(),
      after: [
        ("product-LANTERN", lantern), ("order-1", placed("1", customer: "ada")),
        ("order-2", placed("2", customer: nil)),
        ("order-1", OrderEvent.cancelled(OrderCancelled(orderID: "1", reason: "r"))),
      ])
    #expect(documents.documents.keys.sorted() == ["1", "2"])
    #expect(
      String(decoding: try #require(documents["1"]).json, as: UTF8.self)
        == #"{"orderId":"1","customerId":"ada","status":"cancelled","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":6,"unitPrice":339,"lineTotal":2034}],"total":2034,"currency":"GBP","placedAt":"2026-11-21T09:30:00Z","version":2}"#
    )
    #expect(try JSON(parsing: try #require(documents["2"]).json)["customerId"] == JSON.null)
  }

  @Test("a product reads as registered, and then as discontinued")
  func catalogue() throws {
    let documents = try Rows(
      of: CatalogueProjection(),
      after: [
        ("product-LANTERN", lantern), ("order-1", placed("1", customer: nil)),
        ("product-LANTERN", ProductEvent.discontinued(ProductDiscontinued(sku: SKU("LANTERN")!))),
      ])
    #expect(documents.documents.keys.sorted() == ["LANTERN"])
    #expect(
      String(decoding: try #require(documents["LANTERN"]).json, as: UTF8.self)
        == #"{"sku":"LANTERN","name":"Metal lantern","description":null,"unitPrice":339,"currency":"GBP","status":"discontinued","version":2}"#
    )
  }

  @Test("an event that this build does not know is an error; those of other categories are not its concern")
  func unknown() throws {
    let event = { (stream: String) in
      RecordedEvent(
        position: Position(1), stream: StreamID(rawValue: stream), version: Version(1), hash: 0, id: .v7(),
        type: "Teleported", schemaVersion: 1, data: Array("{}".utf8), metadata: [], recordedAt: .now)
    }
    #expect(throws: EventDecodingError.self) { try OrdersProjection().fold([event("order-1")], load: { _ in [:] }) }
    #expect(throws: EventDecodingError.self) {
      try CatalogueProjection().fold([event("product-1")], load: { _ in [:] })
    }
    #expect(try OrdersProjection().fold([event("parcel-1")], load: { _ in [:] }).isEmpty)
  }
}
