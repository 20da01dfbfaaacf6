import Commerce
import CounterflowTesting
import EventSourcing
import JSON
import TestSupport
import Testing

// Past events and commands.
extension DecisionTests {
  var sku: SKU { SKU("LANTERN")! }

  func lantern(tracksStock: Bool = false) -> ProductEvent {
    .registered(
      ProductRegistered(
        sku: sku, name: "Metal lantern", description: nil, unitPrice: 339, currency: "GBP", tracksStock: tracksStock))
  }

  var time: Timestamp { Timestamp("2026-11-21T09:30:00Z")! }

  func placed(_ quantities: [Int64] = [6], tracksStock: Bool = false) -> OrderEvent {
    .placed(
      OrderPlaced(
        orderID: "o", customerID: "ada", country: "France",
        lines: quantities.map {
          .init(sku: sku, name: "Metal lantern", quantity: $0, unitPrice: 339, tracksStock: tracksStock)
        }, total: quantities.reduce(0, +) * 339, currency: "GBP", placedAt: time))
  }
  var paid: OrderEvent { OrderEvent.paid(OrderPaid(orderID: "o", amount: 2034, reference: nil)) }
  var shipped: OrderEvent { OrderEvent.shipped(OrderShipped(orderID: "o", carrier: nil, trackingCode: nil)) }
  var delivered: OrderEvent { OrderEvent.delivered(orderID: "o") }
  var cancelled: OrderEvent { OrderEvent.cancelled(OrderCancelled(orderID: "o", reason: "r")) }
  var moved: StockMoved { StockMoved(sku: sku, orderID: "o", quantity: 6) }

  func order(_ lines: [(String, Int64)], price: Int64? = nil) -> PlaceOrder {
    PlaceOrder(
      orderID: "o", customerID: "ada", country: nil,
      lines: lines.map { .init(sku: SKU($0.0)!, quantity: $0.1, unitPrice: price) }, placedAt: time, currency: "GBP")
  }

  func comeBack(order: String?, _ lines: [(String, Int64)], price: Int64? = nil) -> RecordReturn {
    RecordReturn(
      returnID: "r", orderID: order, customerID: nil, country: nil, reason: nil,
      lines: lines.map { .init(sku: SKU($0.0)!, quantity: $0.1, unitPrice: price) }, returnedAt: time, currency: "GBP")
  }
}

extension Given {
  func product(_ events: ProductEvent...) throws -> Given {
    try events.reduce(self) { try $0.and(Product.self, id: "LANTERN", $1) }
  }
  func order(_ events: OrderEvent...) throws -> Given {
    try events.reduce(self) { try $0.and(Order.self, id: "o", $1) }
  }

  /// - Returns: The events that the command emits, each as `stream Type {json}`.
  /// - Throws: The command's rejection.
  func emits(_ command: some Command) throws -> [String] {
    let outcome = try when(command)
    if let rejection = outcome.rejection { throw rejection }
    return outcome.events.map { "\($0.stream) \($0.type) \(String(decoding: $0.data, as: UTF8.self))" }
  }
}
