import Commerce
import CommerceReactions
import CounterflowTesting
import EventSourcing
import JSON
import Reactions
import TestSupport
import Testing

@Suite("Customers who wait for a product")
struct WaitlistTests {
  private let sku = SKU("LANTERN")!

  private func ask(_ customerID: String = "ada") -> RequestBackInStock {
    RequestBackInStock(sku, customerID: customerID)
  }

  private func customer(_ id: String, after given: Given) throws -> Given {
    try given.and(
      Customer.self, id: id, .registered(CustomerRegistered(customerID: id, sealed: "c2VhbGVk", country: nil)))
  }

  private func notice(_ customerID: String) -> BackInStockEvent {
    .noticed(BackInStockNoticed(sku: sku, name: "Metal lantern", customerID: customerID))
  }

  /// A product without stock, and a customer.
  private func soldOut(tracksStock: Bool = true) throws -> Given {
    let product = ProductRegistered(
      sku: sku, name: "Metal lantern", description: nil, unitPrice: 339, currency: "GBP", tracksStock: tracksStock)
    return try customer("ada", after: given(Product.self, id: "LANTERN", .registered(product)))
  }

  private func waiting(_ customerIDs: [String]) throws -> Given {
    try customerIDs.reduce(try soldOut()) {
      try $0.and(Waitlist.self, id: "LANTERN", .requested(sku: sku, customerID: $1))
    }
  }

  private func received(_ given: Given, _ quantity: Int64 = 5) throws -> Given {
    try given.and(Product.self, id: "LANTERN", .stockReceived(sku: sku, quantity: quantity))
  }

  @Test("A customer waits once, however often the customer asks")
  func asking() throws {
    let asked = try soldOut().when(ask())
    try asked.then(Waitlist.self, id: "LANTERN", .requested(sku: sku, customerID: "ada"))
    try asked.after.when(ask()).thenNothing()
    // Also while the stock is there, and the process manager is about to notify.
    try received(asked.after).when(ask()).thenNothing()
  }

  @Test("Only a known customer waits, and only for a known product that is not available")
  func rejections() throws {
    try givenNothing().when(ask()).thenRejected("not-found")
    try soldOut().when(ask("bob")).thenRejected("customer-unknown")
    let erased = PersonalDataErased(
      customerID: "ada", events: 1, erasedAt: Timestamp(microsecondsSince1970: 0), reason: nil)
    try soldOut().and(Customer.self, id: "ada", .personalDataErased(erased)).when(ask())
      .thenRejected("customer-erased")
    try received(soldOut()).when(ask()).thenRejected("product-available")
    try soldOut(tracksStock: false).when(ask()).thenRejected("product-available")
    // A product that is off sale may be put on sale again.
    try soldOut(tracksStock: false).and(Product.self, id: "LANTERN", .discontinued(sku: sku)).when(ask())
      .then(Waitlist.self, id: "LANTERN", .requested(sku: sku, customerID: "ada"))
  }

  @Test("A waiting list has room for 10,000 customers")
  func bound() throws {
    var waitlist = Waitlist()
    for number in 0..<Waitlist.capacity { waitlist.apply(.requested(sku: sku, customerID: "c\(number)")) }
    #expect(waitlist.isFull && waitlist.footprint > 1_000_000)
    waitlist.apply(.notified(sku: sku, customerIDs: ["c0"]))
    #expect(!waitlist.isFull && waitlist.waiting.first == "c1")
    waitlist.apply(.requested(sku: sku, customerID: "c0"))
    // Its snapshot holds all of them.
    var json = JSONWriter()
    try json.write(encoding: waitlist)
    let snapshot = Snapshot(
      stream: Waitlist.stream("LANTERN"), schemaVersion: 1, version: Version(10_002), position: Position(10_002),
      eventID: .v7(), state: json.bytes)
    var states: [StreamID: StreamState] = [:]
    for reference in ask().streams {
      states[reference.stream] = StreamState(new: reference)
      try states[reference.stream]?.apply(soldOut().events.filter { $0.stream == reference.stream })
    }
    states[snapshot.stream] = try StreamState(snapshot, of: AggregateReference(Waitlist.self, "LANTERN"))
    var decision = Decision(states: states)
    do throws(Rejection) {
      try ask().decide(&decision)
      Issue.record("a full list took another customer")
    } catch { #expect(error.code == "waitlist-full") }
  }

  @Test("Whatever makes the product available notifies each customer who waits, once")
  func replenishing() throws {
    let moved = StockMoved(sku: sku, orderID: "o", quantity: 2)
    let ways: [(before: [ProductEvent], event: ProductEvent)] = [
      ([], .stockReceived(sku: sku, quantity: 1)), ([], .stockAdjusted(sku: sku, quantity: 1, reason: "found")),
      ([], .stockReturned(sku: sku, returnID: "r", quantity: 1)),
      ([.stockReceived(sku: sku, quantity: 2), .stockReserved(moved)], .stockReleased(moved)),
      ([.discontinued(sku: sku), .stockReceived(sku: sku, quantity: 2)], .reinstated(sku: sku)),
    ]
    for way in ways {
      let before = try way.before.reduce(waiting(["ada", "bob"])) { try $0.and(Product.self, id: "LANTERN", $1) }
      let notified = try before.and(Product.self, id: "LANTERN", way.event).on(BackInStock())
      try notified.then(Waitlist.self, id: "LANTERN", .notified(sku: sku, customerIDs: ["ada", "bob"]))
        .then(BackInStockNotices.self, id: "LANTERN/ada", notice("ada"))
        .then(BackInStockNotices.self, id: "LANTERN/bob", notice("bob"))
      try received(notified.after).on(BackInStock()).thenNothing()
    }
  }

  @Test("Nobody is notified while there is nothing to sell")
  func nothingToSell() throws {
    let moved = StockMoved(sku: sku, orderID: "o", quantity: 5)
    let quiet: [[ProductEvent]] = [
      [.priceChanged(ProductPriceChanged(sku: sku, unitPrice: 1))],
      [.stockReceived(sku: sku, quantity: 5), .stockAdjusted(sku: sku, quantity: -1, reason: "broken")],
      [.stockReceived(sku: sku, quantity: 5), .stockReserved(moved)],
      // Off sale.
      [.discontinued(sku: sku), .stockReceived(sku: sku, quantity: 5)],
    ]
    for events in quiet {
      try events.reduce(waiting(["ada"])) { try $0.and(Product.self, id: "LANTERN", $1) }
        .on(BackInStock()).thenNothing()
    }
    // Sold again before the process manager gets to the receipt.
    let sold = try received(waiting(["ada"])).and(Product.self, id: "LANTERN", .stockReserved(moved))
    try sold.when(NotifyWaitlist(sku, onlyAda)).thenNothing()
  }

  private var onlyAda: Waitlist {
    var waitlist = Waitlist()
    waitlist.apply(.requested(sku: sku, customerID: "ada"))
    return waitlist
  }

  @Test("A long list is notified in several appends, in the order in which the customers asked")
  func longList() throws {
    let ids = (0..<250).map { "c\($0)" }
    var after = try received(waiting(ids))
    var appends: [[String]] = []
    while true {
      let outcome = try after.on(BackInStock())
      guard let first = outcome.events.first else { break }
      guard case .notified(_, let customerIDs) = try WaitlistEvent(first) else { break }
      #expect(outcome.events.count == 1 + customerIDs.count)
      appends.append(customerIDs)
      // The next append follows from the list's own event, which is the last one here.
      after = try after.and(Waitlist.self, id: "LANTERN", .notified(sku: sku, customerIDs: customerIDs))
    }
    #expect(appends.map(\.count) == [100, 100, 50])
    #expect(appends.flatMap { $0 } == ids)
  }
}
