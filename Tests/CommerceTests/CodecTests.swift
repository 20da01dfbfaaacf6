import Commerce
import EventSourcing
import Foundation
import JSON
import TestSupport
import Testing

/// Every event and every version of it that was ever stored, as it was stored. A file is never changed:
/// a new version is a new file.
@Suite("Golden events")
struct CodecTests {
  private static let folder = TestEnvironment.root.appendingPathComponent("Tests/CommerceTests/Golden")

  private static func golden(_ name: String) throws -> [UInt8] {
    var bytes = Array(try Data(contentsOf: folder.appendingPathComponent(name + ".json")))
    while bytes.last == 0x0A { bytes.removeLast() }
    return bytes
  }

  static let current: [(String, any DomainEvent)] = [
    (
      "ProductRegistered.1",
      ProductEvent.registered(
        ProductRegistered(
          sku: SKU("LANTERN")!, name: "Métal \"lantern\"", description: "line\nbreak", unitPrice: 339, currency: "GBP"))
    ),
    ("ProductPriceChanged.1", ProductEvent.priceChanged(ProductPriceChanged(sku: SKU("LANTERN")!, unitPrice: 299))),
    ("ProductDiscontinued.1", ProductEvent.discontinued(ProductDiscontinued(sku: SKU("LANTERN")!))),
    (
      "OrderPlaced.1",
      OrderEvent.placed(
        OrderPlaced(
          orderID: "o-1", customerID: "ada",
          lines: [.init(sku: SKU("LANTERN")!, name: "Metal lantern", quantity: 6, unitPrice: 339)], total: 2034,
          currency: "GBP", placedAt: Timestamp("2026-11-21T09:30:00.123456Z")!))
    ),
    ("OrderCancelled.1", OrderEvent.cancelled(OrderCancelled(orderID: "o-1", reason: "changed my mind"))),
  ]

  @Test("each event is written as it always was, and read back", arguments: current.map(\.0))
  func golden(name: String) throws {
    let event = try #require(Self.current.first { $0.0 == name }?.1)
    let golden = try Self.golden(name)
    let new = event.new(in: StreamID(rawValue: "x-1"), id: .v7(), metadata: [])
    #expect(String(decoding: new.data, as: UTF8.self) == String(decoding: golden, as: UTF8.self))
    #expect("\(new.type).\(new.schemaVersion)" == name)
    let data = try JSON(parsing: golden)
    switch event {
    case let event as ProductEvent:
      #expect(try ProductEvent(type: new.type, schemaVersion: new.schemaVersion, data: data) == event)
    case let event as OrderEvent:
      #expect(try OrderEvent(type: new.type, schemaVersion: new.schemaVersion, data: data) == event)
    default: Issue.record("no codec for \(name)")
    }
  }

  @Test("every golden file belongs to an event that is tested")
  func complete() throws {
    let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path).map { String($0.dropLast(5)) }
    #expect(Set(files) == Set(Self.current.map(\.0)))
  }

  @Test("an unknown type or version is an error with its position, never a skip")
  func unknown() {
    func recorded(_ type: String, _ version: Int, _ data: String) -> RecordedEvent {
      RecordedEvent(
        position: Position(42), stream: StreamID(rawValue: "order-1"), version: Version(1), hash: 0, id: .v7(),
        type: type,
        schemaVersion: version, data: Array(data.utf8), metadata: [], recordedAt: .now)
    }
    #expect(throws: EventDecodingError.at(Position(42), .unknownType("OrderEaten", schemaVersion: 1))) {
      try OrderEvent(recorded("OrderEaten", 1, "{}"))
    }
    #expect(throws: EventDecodingError.at(Position(42), .unknownType("OrderCancelled", schemaVersion: 2))) {
      try OrderEvent(recorded("OrderCancelled", 2, "{}"))
    }
    for data in ["", "[]", #"{"orderId":"o"}"#, #"{"orderId":1,"reason":"r"}"#] {
      #expect { try OrderEvent(recorded("OrderCancelled", 1, data)) } throws: {
        if case .at(Position(42), .malformed) = $0 as? EventDecodingError { true } else { false }
      }
    }
  }
}
