public import EventSourcing

/// Places an order at the catalogue's prices.
public struct PlaceOrder: Command {
  public struct Line: Sendable, Hashable {
    public let sku: SKU
    /// Within `Bounds.quantity`.
    public let quantity: Int64

    public init(sku: SKU, quantity: Int64) {
      self.sku = sku
      self.quantity = quantity
    }
  }

  public let orderID: String
  public let customerID: String?
  /// As many as `Bounds.lines` allows.
  public let lines: [Line]
  public let placedAt: Timestamp
  /// ISO 4217.
  public let currency: String

  public init(orderID: String, customerID: String?, lines: [Line], placedAt: Timestamp, currency: String) {
    self.orderID = orderID
    self.customerID = customerID
    self.lines = lines
    self.placedAt = placedAt
    self.currency = currency
  }

  public var streams: [AggregateReference] {
    [AggregateReference(Order.self, orderID, isExpectedNew: true)]
      + Set(lines.map(\.sku)).map { AggregateReference(Product.self, $0.rawValue) }
  }

  public func decide(_ decision: inout Decision) throws(CommerceRejection) {
    guard decision.state(Order.self, orderID).status == .none else { throw .orderExists(orderID) }
    var unsaleable: [CommerceRejection.UnsaleableLine] = []
    var priced: [OrderPlaced.Line] = []
    for (index, line) in lines.enumerated() {
      let product = decision.state(Product.self, line.sku.rawValue)
      if product.isOnSale {
        priced.append(
          OrderPlaced.Line(sku: line.sku, name: product.name, quantity: line.quantity, unitPrice: product.unitPrice))
      } else {
        let reason: CommerceRejection.UnsaleableLine.Reason = product.isRegistered ? .discontinued : .unknown
        unsaleable.append(.init(index: index, sku: line.sku, reason: reason))
      }
    }
    guard unsaleable.isEmpty else { throw .productsNotOnSale(unsaleable) }
    let placed = OrderPlaced(
      orderID: orderID, customerID: customerID, lines: priced, total: try Self.total(priced), currency: currency,
      placedAt: placedAt)
    decision.emit(.placed(placed), to: Order.self, orderID)
  }

  private static func total(_ lines: [OrderPlaced.Line]) throws(CommerceRejection) -> Int64 {
    var total: Int64 = 0
    for line in lines {
      let (amount, amountOverflows) = line.quantity.multipliedReportingOverflow(by: line.unitPrice)
      let (sum, sumOverflows) = total.addingReportingOverflow(amount)
      guard !amountOverflows && !sumOverflows else { throw .totalOverflows }
      total = sum
    }
    return total
  }
}

/// Cancels an order; one that is cancelled already stays so, and nothing is stored.
public struct CancelOrder: Command {
  public let orderID: String
  public let reason: String

  public init(orderID: String, reason: String) {
    self.orderID = orderID
    self.reason = reason
  }

  public var streams: [AggregateReference] { [AggregateReference(Order.self, orderID)] }

  public func decide(_ decision: inout Decision) throws(CommerceRejection) {
    switch decision.state(Order.self, orderID).status {
    case .none: throw .orderNotFound(orderID)
    case .cancelled: return
    case .placed:
      decision.emit(.cancelled(OrderCancelled(orderID: orderID, reason: reason)), to: Order.self, orderID)
    }
  }
}
