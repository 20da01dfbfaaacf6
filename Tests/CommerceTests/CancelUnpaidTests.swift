import Commerce
import CommerceReactions
import CounterflowTesting
import EventSourcing
import Reactions
import TestSupport
import Testing

@Suite("Orders that are not paid in time")
struct CancelUnpaidTests {
  private let order = OrderPlaced(
    orderID: "o", customerID: nil, country: nil,
    lines: [.init(sku: SKU("LANTERN")!, name: "L", quantity: 2, unitPrice: 5, tracksStock: true)], total: 10,
    currency: "GBP", placedAt: Timestamp(microsecondsSince1970: 0))

  @Test("An order schedules its cancellation, counted from when it was recorded")
  func scheduling() throws {
    let placed = try givenNothing().and(Order.self, id: "o", .placed(order))
    let recordedAt = try #require(placed.events.last).recordedAt
    try placed.on(CancelUnpaid(after: .seconds(60)))
      .thenScheduled(CancelOverdue(order), .at(recordedAt.advanced(by: .seconds(60))))
    // It must not conflict with those who write the products.
    let appends = try CancelUnpaid(after: .seconds(60)).definition.answer(#require(placed.events.last)).appends
    #expect(appends.flatMap { $0.command.streams.map(\.stream) } == [Order.stream("o")])
    #expect(try placed.on(CancelUnpaid(after: nil)).scheduled.isEmpty)
    let paid = try placed.and(Order.self, id: "o", .paid(OrderPaid(orderID: "o", amount: 10, reference: nil)))
    #expect(try paid.on(CancelUnpaid(after: .seconds(60))).scheduled.isEmpty)
  }

  @Test("An unpaid order is cancelled and its stock released; a paid or cancelled one is left alone")
  func cancelling() throws {
    let placed = try givenNothing().and(Order.self, id: "o", .placed(order))
    let moved = StockMoved(sku: SKU("LANTERN")!, orderID: "o", quantity: 2)
    try placed.when(CancelOverdue(order))
      .then(Order.self, id: "o", .cancelled(OrderCancelled(orderID: "o", reason: "paymentOverdue")))
      .then(Product.self, id: "LANTERN", .stockReleased(moved))
    for settled: OrderEvent in [
      .paid(OrderPaid(orderID: "o", amount: 10, reference: nil)), .cancelled(OrderCancelled(orderID: "o", reason: nil)),
    ] {
      try placed.and(Order.self, id: "o", settled).when(CancelOverdue(order)).thenNothing()
    }
  }
}
