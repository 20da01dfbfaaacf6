import Commerce
import EventSourcing
import Foundation
import PostgresEventStore

/// Fills a store for queries: orders of one to three lines by many customers, over two years. Every run gives the same
/// orders.
struct Spread {
  private static let colours = [
    "red", "blue", "green", "ivory", "amber", "violet", "silver", "golden", "black", "white",
  ]
  private static let things = [
    "lantern", "candle", "basket", "kettle", "mirror", "blanket", "cushion", "teapot", "clock", "frame",
  ]
  private static let styles = ["metal", "wooden", "glass", "paper", "ceramic"]
  private static let names = ["Ada", "Bob", "Carol", "Dan", "Eve", "Frank", "Grace", "Heidi", "Ivan", "Judy"]
  private static let families = ["Lovelace", "Babbage", "Hopper", "Turing", "Hamilton", "Dijkstra", "Liskov", "Knuth"]
  private static let countries = [
    "United Kingdom", "France", "Germany", "Spain", "Norway", "Japan", "Ireland", "Italy",
  ]
  private static let customers = 2_000

  private let store: PostgresEventStore
  private let keys: PersonalKeys
  private let products: [(sku: SKU, name: String, price: Int64)]

  init(_ store: PostgresEventStore, _ keys: PersonalKeys) {
    (self.store, self.keys) = (store, keys)
    products = Self.styles.flatMap { style in
      Self.colours.flatMap { colour in Self.things.map { "\(style) \(colour) \($0)" } }
    }.enumerated().map { (SKU("P-\($0.offset)")!, $0.element, Int64($0.offset % 50 + 1) * 99) }
  }

  func append(_ orders: Int) async throws {
    try await append(
      products.map { product in
        let event = ProductEvent.registered(
          ProductRegistered(
            sku: product.sku, name: product.name, description: nil, unitPrice: product.price, currency: "GBP",
            tracksStock: false))
        return try new(event, in: Product.stream(product.sku.rawValue))
      })
    var customers: [NewEvent] = []
    for index in 0..<Self.customers {
      let id = "customer-\(index)"
      let name = "\(Self.names[index % 10]) \(Self.families[index / 10 % 8]) \(index)"
      let data = PersonalData(name: name, email: "\(id)@example.org")
      let sealed = try await keys.key(of: id)?.seal(data.encoded, of: id) ?? ""
      let event = CustomerEvent.registered(
        CustomerRegistered(customerID: id, sealed: sealed, country: Self.countries[index % 8]))
      customers.append(try new(event, in: Customer.stream(id)))
    }
    try await append(customers)
    let start = Timestamp("2024-01-01T00:00:00Z")!.microsecondsSince1970
    var batch: [NewEvent] = []
    for index in 0..<orders {
      // Multiples of primes spread the products, and give the same lines in every run.
      let lines = (0...index % 3).map { line in
        let product = products[(index * 7_919 + line * 104_729) % products.count]
        return OrderPlaced.Line(
          sku: product.sku, name: product.name, quantity: Int64(index % 5 + 1), unitPrice: product.price,
          tracksStock: false)
      }
      let customer = index * 6_007 % Self.customers
      let second = Int64(index) * 63_072_000 / Int64(max(orders, 1))
      let event = OrderEvent.placed(
        OrderPlaced(
          orderID: "order-\(index)", customerID: "customer-\(customer)", country: Self.countries[customer % 8],
          lines: lines, total: lines.reduce(0) { $0 + $1.quantity * $1.unitPrice }, currency: "GBP",
          placedAt: Timestamp(microsecondsSince1970: start + second * 1_000_000)))
      batch.append(try new(event, in: Order.stream("order-\(index)")))
      if batch.count == 1_000 || index == orders - 1 {
        try await append(batch)
        batch = []
      }
    }
  }

  private func new(_ event: some DomainEvent, in stream: StreamID) throws -> NewEvent {
    try event.new(
      in: stream, id: .v7(at: .now), metadata: EventMetadata(correlationID: "spread", causationID: "spread").encoded)
  }

  private func append(_ events: [NewEvent]) async throws {
    for start in stride(from: 0, to: events.count, by: 1_000) {
      let part = Array(events[start..<min(start + 1_000, events.count)])
      let expectedVersions = Dictionary(uniqueKeysWithValues: part.map { ($0.stream, Version.none) })
      guard case .appended = try await store.append(AppendBatch(expectedVersions: expectedVersions, events: part))
      else {
        fail("the store is not empty: scripts/reset empties it")
      }
    }
  }
}
