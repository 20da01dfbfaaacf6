public import EventSourcing

/// Places an order at the catalogue's prices. Reserves the stock of all lines, or of none.
public struct PlaceOrder: Command {
  public struct Line: Sendable, Hashable {
    public let sku: SKU
    /// Within `Bounds.quantity`.
    public let quantity: Int64
    /// The price in minor units; nil for the catalogue's price.
    public let unitPrice: Int64?

    public init(sku: SKU, quantity: Int64, unitPrice: Int64? = nil) {
      self.sku = sku
      self.quantity = quantity
      self.unitPrice = unitPrice
    }
  }

  public let orderID: String
  public let customerID: String?
  public let country: String?
  /// The number of lines is within `Bounds.lines`.
  public let lines: [Line]
  public let placedAt: Timestamp
  /// ISO 4217.
  public let currency: String

  public init(
    orderID: String, customerID: String?, country: String?, lines: [Line], placedAt: Timestamp, currency: String
  ) {
    self.orderID = orderID
    self.customerID = customerID
    self.country = country
    self.lines = lines
    self.placedAt = placedAt
    self.currency = currency
  }

  public var streams: [AggregateReference] {
    [AggregateReference(Order.self, orderID, isExpectedNew: true)]
      + Set(lines.map(\.sku)).map { AggregateReference(Product.self, $0.rawValue) }
  }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    guard decision.state(Order.self, orderID).status == .none else { throw .orderExists(orderID) }
    var unsaleable: [UnsaleableLine] = []
    var priced: [OrderPlaced.Line] = []
    for (index, line) in lines.enumerated() {
      let product = decision.state(Product.self, line.sku.rawValue)
      if product.isOnSale {
        priced.append(
          OrderPlaced.Line(
            sku: line.sku, name: product.name, quantity: line.quantity, unitPrice: line.unitPrice ?? product.unitPrice,
            tracksStock: product.tracksStock))
      } else {
        let reason: UnsaleableLine.Reason = product.isRegistered ? .discontinued : .unknown
        unsaleable.append(.init(index: index, sku: line.sku, reason: reason))
      }
    }
    guard unsaleable.isEmpty else { throw .productsNotOnSale(unsaleable) }
    guard let total = total(priced.map { ($0.quantity, $0.unitPrice) }) else { throw .totalOverflows }
    let needed = quantities(of: priced)
    let lacking = needed.compactMap { need -> Shortage? in
      let available = decision.state(Product.self, need.sku.rawValue).available
      guard available < need.quantity else { return nil }
      // Never nil: `needed` is the sum of the lines.
      let index = lines.firstIndex { $0.sku == need.sku }!
      return .init(index: index, sku: need.sku, ordered: need.quantity, available: available)
    }
    guard lacking.isEmpty else { throw .stockLacking(lacking.sorted { $0.index < $1.index }) }
    for (sku, quantity) in needed {
      let moved = StockMoved(sku: sku, orderID: orderID, quantity: quantity)
      decision.emit(.stockReserved(moved), to: Product.self, sku.rawValue)
    }
    let placed = OrderPlaced(
      orderID: orderID, customerID: customerID, country: country, lines: priced, total: total, currency: currency,
      placedAt: placedAt)
    decision.emit(.placed(placed), to: Order.self, orderID)
  }
}

/// Records the payment of an order. The amount must be the order's total; a second payment changes nothing.
public struct PayOrder: Command {
  public let orderID: String
  /// Minor units.
  public let amount: Int64
  public let reference: String?

  public init(orderID: String, amount: Int64, reference: String?) {
    self.orderID = orderID
    self.amount = amount
    self.reference = reference
  }

  public var streams: [AggregateReference] { [AggregateReference(Order.self, orderID)] }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    let order = decision.state(Order.self, orderID)
    switch order.status {
    case .none: throw .orderNotFound(orderID)
    case .cancelled: throw .orderIsCancelled(orderID)
    case .placed, .paid, .shipped, .delivered:
      guard amount == order.total else { throw .amountDiffers(orderID, total: order.total, amount: amount) }
      guard order.status == .placed else { return }
      decision.emit(
        .paid(OrderPaid(orderID: orderID, amount: amount, reference: reference)), to: Order.self, orderID)
    }
  }
}

/// Marks an order as delivered.
public struct DeliverOrder: Command {
  public let orderID: String

  public init(orderID: String) { self.orderID = orderID }

  public var streams: [AggregateReference] { [AggregateReference(Order.self, orderID)] }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    switch decision.state(Order.self, orderID).status {
    case .none: throw .orderNotFound(orderID)
    case .cancelled: throw .orderIsCancelled(orderID)
    case .placed, .paid: throw .orderNotShipped(orderID)
    case .shipped: decision.emit(.delivered(orderID: orderID), to: Order.self, orderID)
    case .delivered: return
    }
  }
}

/// Ships an order: its stock leaves the warehouse.
public struct ShipOrder: Command {
  public let orderID: String
  public let carrier: String?
  public let trackingCode: String?
  /// The SKUs of the order's lines. The lines never change, so read them first.
  public let skus: Set<SKU>

  public init(orderID: String, carrier: String?, trackingCode: String?, skus: Set<SKU>) {
    self.orderID = orderID
    self.carrier = carrier
    self.trackingCode = trackingCode
    self.skus = skus
  }

  public var streams: [AggregateReference] { orderStreams(orderID, skus) }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    let order = decision.state(Order.self, orderID)
    switch order.status {
    case .none: throw .orderNotFound(orderID)
    case .cancelled: throw .orderIsCancelled(orderID)
    case .placed: throw .orderNotPaid(orderID)
    case .shipped, .delivered: return
    case .paid:
      guard order.skus.isSubset(of: skus) else { throw .changedMeanwhile(orderID) }
      for (sku, quantity) in order.tracked {
        let moved = StockMoved(sku: sku, orderID: orderID, quantity: quantity)
        decision.emit(.stockShipped(moved), to: Product.self, sku.rawValue)
      }
      decision.emit(
        .shipped(OrderShipped(orderID: orderID, carrier: carrier, trackingCode: trackingCode)), to: Order.self, orderID)
    }
  }
}

/// Cancels an order that is not shipped, and releases its stock. Does nothing if the order is already cancelled.
public struct CancelOrder: Command {
  public let orderID: String
  public let reason: String?
  /// The SKUs of the order's lines. The lines never change, so read them first.
  public let skus: Set<SKU>

  public init(orderID: String, reason: String?, skus: Set<SKU>) {
    self.orderID = orderID
    self.reason = reason
    self.skus = skus
  }

  public var streams: [AggregateReference] { orderStreams(orderID, skus) }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    let order = decision.state(Order.self, orderID)
    switch order.status {
    case .none: throw .orderNotFound(orderID)
    case .cancelled: return
    case .shipped, .delivered: throw .orderIsShipped(orderID)
    case .placed, .paid:
      guard order.skus.isSubset(of: skus) else { throw .changedMeanwhile(orderID) }
      for (sku, quantity) in order.tracked {
        let moved = StockMoved(sku: sku, orderID: orderID, quantity: quantity)
        decision.emit(.stockReleased(moved), to: Product.self, sku.rawValue)
      }
      decision.emit(.cancelled(OrderCancelled(orderID: orderID, reason: reason)), to: Order.self, orderID)
    }
  }
}

private func orderStreams(_ orderID: String, _ skus: Set<SKU>) -> [AggregateReference] {
  [AggregateReference(Order.self, orderID)] + skus.map { AggregateReference(Product.self, $0.rawValue) }
}
