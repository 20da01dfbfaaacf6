import Commerce
import EventSourcing
import Foundation
import JSON
import TestSupport
import Testing

/// Every event in every schema version that was ever stored, as stored. A file never changes: a new version is a new
/// file.
@Suite("Golden events")
struct CodecTests {
  private static let folder = TestEnvironment.root.appendingPathComponent("Tests/CommerceTests/Golden")

  private static func golden(_ name: String) throws -> [UInt8] {
    var bytes = Array(try Data(contentsOf: folder.appendingPathComponent(name + ".json")))
    while bytes.last == 0x0A { bytes.removeLast() }
    return bytes
  }

  private static let sku = SKU("LANTERN")!
  private static let moved = StockMoved(sku: sku, orderID: "o-1", quantity: 6)
  private static let later = Timestamp("2026-11-22T09:30:00Z")!

  private static func registered(tracksStock: Bool) -> ProductEvent {
    .registered(
      ProductRegistered(
        sku: sku, name: "Métal \"lantern\"", description: "line\nbreak", unitPrice: 339, currency: "GBP",
        tracksStock: tracksStock))
  }

  private static func placed(country: String?, tracksStock: Bool) -> OrderEvent {
    .placed(
      OrderPlaced(
        orderID: "o-1", customerID: "ada", country: country,
        lines: [.init(sku: sku, name: "Metal lantern", quantity: 6, unitPrice: 339, tracksStock: tracksStock)],
        total: 2034, currency: "GBP", placedAt: Timestamp("2026-11-21T09:30:00.123456Z")!))
  }

  @Test("The list of types contains exactly the events that were ever stored")
  func types() throws {
    let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
    #expect(commerceEvents.all == Set(files.map { String($0.prefix { $0 != "." }) }).sorted())
  }

  static let current: [(String, any DomainEvent)] = [
    ("ProductRegistered.2", registered(tracksStock: true)),
    (
      "ProductDetailsChanged.1",
      ProductEvent.detailsChanged(ProductDetailsChanged(sku: sku, name: "Brass lantern", description: ""))
    ),
    ("ProductPriceChanged.1", ProductEvent.priceChanged(ProductPriceChanged(sku: sku, unitPrice: 299))),
    ("ProductDiscontinued.1", ProductEvent.discontinued(sku: sku)),
    ("ProductReinstated.1", ProductEvent.reinstated(sku: sku)),
    ("StockReceived.1", ProductEvent.stockReceived(sku: sku, quantity: 40)),
    ("StockAdjusted.1", ProductEvent.stockAdjusted(sku: sku, quantity: -2, reason: "broken")),
    ("StockReserved.1", ProductEvent.stockReserved(moved)), ("StockReleased.1", ProductEvent.stockReleased(moved)),
    ("StockShipped.1", ProductEvent.stockShipped(moved)),
    ("StockReturned.1", ProductEvent.stockReturned(sku: sku, returnID: "r-1", quantity: 2)),
    ("BackInStockRequested.1", WaitlistEvent.requested(sku: sku, customerID: "ada")),
    ("WaitlistNotified.1", WaitlistEvent.notified(sku: sku, customerIDs: ["ada", "bob"])),
    (
      "BackInStockNoticed.1",
      BackInStockEvent.noticed(BackInStockNoticed(sku: sku, name: "Metal lantern", customerID: "ada"))
    ),
    ("OrderPlaced.2", placed(country: "United Kingdom", tracksStock: true)),
    ("OrderPaid.1", OrderEvent.paid(OrderPaid(orderID: "o-1", amount: 2034, reference: "pay-7"))),
    (
      "OrderShipped.1",
      OrderEvent.shipped(OrderShipped(orderID: "o-1", carrier: "Royal Mail", trackingCode: "RM1"))
    ),
    ("OrderDelivered.1", OrderEvent.delivered(orderID: "o-1")),
    ("OrderCancelled.1", OrderEvent.cancelled(OrderCancelled(orderID: "o-1", reason: "changed my mind"))),
    (
      "OrderItemsReturned.1",
      OrderEvent.itemsReturned(
        OrderItemsReturned(
          orderID: "o-1", returnID: "r-1", items: [.init(line: 0, sku: sku, quantity: 2, unitPrice: 339)], total: 678,
          returnedAt: later))
    ),
    (
      "ReturnRecorded.1",
      ReturnEvent.recorded(
        ReturnRecorded(
          returnID: "r-1", orderID: "o-1", customerID: "ada", country: "United Kingdom", reason: "too bright",
          lines: [.init(sku: sku, name: "Metal lantern", quantity: 2, unitPrice: 339)], total: 678, currency: "GBP",
          returnedAt: later))
    ),
    (
      "CustomerRegistered.1",
      CustomerEvent.registered(
        CustomerRegistered(customerID: "ada", sealed: "c2VhbGVk", country: "United Kingdom"))
    ),
    (
      "CustomerChanged.1",
      CustomerEvent.changed(CustomerChanged(customerID: "ada", sealed: "c2VhbGVk", country: "France"))
    ),
    (
      "PersonalDataErased.1",
      CustomerEvent.personalDataErased(
        PersonalDataErased(customerID: "ada", events: 2, erasedAt: later, reason: "asked for it"))
    ),
  ]

  /// The newest form of events of older versions.
  static let past: [(String, any DomainEvent)] = [
    ("ProductRegistered.1", registered(tracksStock: false)),
    ("OrderPlaced.1", placed(country: nil, tracksStock: false)),
  ]

  @Test("Each event is encoded as its golden file, and decoded from it", arguments: current.map(\.0))
  func golden(name: String) throws {
    let event = try #require(Self.current.first { $0.0 == name }?.1)
    let golden = try Self.golden(name)
    let new = try event.new(in: StreamID(rawValue: "x-1"), id: .v7(), metadata: [])
    #expect(String(decoding: new.data, as: UTF8.self) == String(decoding: golden, as: UTF8.self))
    #expect("\(new.type).\(new.schemaVersion)" == name)
    try Self.expect(event, from: golden, name)
  }

  @Test("Each older version is decoded as the newest", arguments: past.map(\.0))
  func readsPast(name: String) throws {
    try Self.expect(try #require(Self.past.first { $0.0 == name }?.1), from: try Self.golden(name), name)
  }

  /// Decodes an event as the store holds it.
  private static func expect(_ event: any DomainEvent, from data: [UInt8], _ name: String) throws {
    let parts = name.split(separator: ".")
    let recorded = RecordedEvent(
      position: Position(1), stream: StreamID(rawValue: "x-1"), version: Version(1), hash: 0, id: .v7(),
      type: String(parts[0]), schemaVersion: Int(parts[1])!, data: data, metadata: [], recordedAt: .now)
    switch event {
    case let event as ProductEvent: #expect(try ProductEvent(recorded) == event)
    case let event as OrderEvent: #expect(try OrderEvent(recorded) == event)
    case let event as ReturnEvent: #expect(try ReturnEvent(recorded) == event)
    case let event as CustomerEvent: #expect(try CustomerEvent(recorded) == event)
    case let event as WaitlistEvent: #expect(try WaitlistEvent(recorded) == event)
    case let event as BackInStockEvent: #expect(try BackInStockEvent(recorded) == event)
    default: Issue.record("no codec for \(name)")
    }
  }

  @Test("Every golden file belongs to a tested event")
  func complete() throws {
    let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path).map { String($0.dropLast(5)) }
    #expect(Set(files) == Set((Self.current + Self.past).map(\.0)))
  }

  @Test("An unknown type or version is an error with its position")
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
    for data in ["", "[]", #"{"reason":"r"}"#, #"{"orderId":1,"reason":"r"}"#] {
      #expect { try OrderEvent(recorded("OrderCancelled", 1, data)) } throws: {
        if case .at(Position(42), .malformed) = $0 as? EventDecodingError { true } else { false }
      }
    }
  }
}
