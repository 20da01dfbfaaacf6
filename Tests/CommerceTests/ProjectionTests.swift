import Commerce
import EventSourcing
import JSON
import Testing

@testable import CommerceReadModels
@testable import Projections

/// Folds events given as (stream, event) into a projection's documents.
private func fold<Projecting: Projection>(
  _ projection: Projecting, _ history: [(String, any DomainEvent)]
) throws -> [String: Projecting.Document] {
  var versions: [String: Int64] = [:]
  let events = history.enumerated().map { index, entry in
    versions[entry.0, default: 0] += 1
    let new = entry.1.new(in: StreamID(rawValue: entry.0), id: .v7(), metadata: [])
    return RecordedEvent(
      position: Position(Int64(index) + 1), stream: new.stream, version: Version(versions[entry.0]!),
      hash: new.stream.hash,
      id: new.id, type: new.type, schemaVersion: new.schemaVersion, data: new.data, metadata: [], recordedAt: .now)
  }
  // One by one, each on what was stored before: the same as all at once, or the fold is not one.
  var stored: [String: Projecting.Document] = [:]
  for event in events {
    for (key, document) in try projection.fold([event], load: { keys in stored.filter { keys.contains($0.key) } }) {
      let bytes = document.map { projection.table.encode($0) }
      stored[key] = try bytes.map { try projection.table.decode($0) }
    }
  }
  let whole = try projection.fold(events, load: { _ in [:] })
  for (key, document) in whole {
    #expect(document.map { projection.table.encode($0) } == stored[key].map { projection.table.encode($0) })
  }
  return stored
}

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
    let documents = try fold(
      OrdersProjection(),
      [
        ("product-LANTERN", lantern), ("order-1", placed("1", customer: "ada")),
        ("order-2", placed("2", customer: nil)),
        ("order-1", OrderEvent.cancelled(OrderCancelled(orderID: "1", reason: "r"))),
      ])
    #expect(documents.keys.sorted() == ["1", "2"])
    #expect(
      String(decoding: try #require(documents["1"]).json, as: UTF8.self)
        == #"{"orderId":"1","customerId":"ada","status":"cancelled","lines":[{"sku":"LANTERN","name":"Metal lantern","quantity":6,"unitPrice":339,"lineTotal":2034}],"total":2034,"currency":"GBP","placedAt":"2026-11-21T09:30:00Z","version":2}"#
    )
    #expect(try JSON(parsing: try #require(documents["2"]).json)["customerId"] == JSON.null)
  }

  @Test("a product reads as registered, and then as discontinued")
  func catalogue() throws {
    let documents = try fold(
      CatalogueProjection(),
      [
        ("product-LANTERN", lantern), ("order-1", placed("1", customer: nil)),
        ("product-LANTERN", ProductEvent.discontinued(ProductDiscontinued(sku: SKU("LANTERN")!))),
      ])
    #expect(documents.keys.sorted() == ["LANTERN"])
    #expect(
      String(decoding: try #require(documents["LANTERN"]).json, as: UTF8.self)
        == #"{"sku":"LANTERN","name":"Metal lantern","description":null,"unitPrice":339,"currency":"GBP","status":"discontinued","version":2}"#
    )
  }

  @Test("an event that this build does not know is an error")
  func unknown() {
    let event = RecordedEvent(
      position: Position(1), stream: StreamID(rawValue: "parcel-1"), version: Version(1), hash: 0, id: .v7(),
      type: "ParcelSent", schemaVersion: 1, data: Array("{}".utf8), metadata: [], recordedAt: .now)
    #expect(throws: EventDecodingError.self) { try OrdersProjection().key(of: event) }
    #expect(throws: EventDecodingError.self) { try CatalogueProjection().key(of: event) }
  }
}
