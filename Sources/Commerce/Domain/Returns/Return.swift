public import EventSourcing

/// An event of a return.
public enum ReturnEvent: DomainEvent, Codable, Hashable {
  case recorded(ReturnRecorded)

  enum CodingKeys: String, CodingKey, CaseIterable { case recorded = "ReturnRecorded" }
}

/// Goods that came back: from an order, or as a credit note with its own prices.
public struct ReturnRecorded: Codable, Sendable, Hashable {
  public struct Line: Codable, Sendable, Hashable {
    public let sku: SKU
    public let name: String
    public let quantity: Int64
    /// Minor units.
    public let unitPrice: Int64

    public init(sku: SKU, name: String, quantity: Int64, unitPrice: Int64) {
      self.sku = sku
      self.name = name
      self.quantity = quantity
      self.unitPrice = unitPrice
    }

    public init(from decoder: any Decoder) throws {
      let values = try decoder.container(keyedBy: CodingKeys.self)
      self.init(
        sku: try values.decode(SKU.self, forKey: .sku), name: try values.decode(String.self, forKey: .name),
        quantity: try values.decode(.quantity, times: .unitPrice),
        unitPrice: try values.decode(Int64.self, forKey: .unitPrice))
    }

    /// Minor units.
    public var total: Int64 { quantity * unitPrice }
  }

  public let returnID: String
  /// nil for a credit note.
  public let orderID: String?
  public let customerID: String?
  public let country: String?
  public let reason: String?
  public let lines: [Line]
  /// Minor units.
  public let total: Int64
  /// ISO 4217.
  public let currency: String
  public let returnedAt: Timestamp

  enum CodingKeys: String, CodingKey {
    case returnID = "returnId", orderID = "orderId", customerID = "customerId"
    case country, reason, lines, total, currency, returnedAt
  }

  public init(
    returnID: String, orderID: String?, customerID: String?, country: String?, reason: String?, lines: [Line],
    total: Int64, currency: String, returnedAt: Timestamp
  ) {
    self.returnID = returnID
    self.orderID = orderID
    self.customerID = customerID
    self.country = country
    self.reason = reason
    self.lines = lines
    self.total = total
    self.currency = currency
    self.returnedAt = returnedAt
  }
}

/// The state of a return, for decisions.
public struct Return: SnapshottingAggregate, Hashable {
  public static let category = "return"
  public static let snapshotPolicy = SnapshotPolicy(every: 1_000, schemaVersion: 1)

  public private(set) var isRecorded = false

  public init() {}

  public mutating func apply(_ event: ReturnEvent) { isRecorded = true }
}

/// Takes goods back and puts tracked stock back on hand. With an order, the order must be shipped, its prices apply,
/// and no more can come back than was ordered. Without an order, this is a credit note with its own prices.
public struct RecordReturn: Command {
  public struct Line: Sendable, Hashable {
    public let sku: SKU
    /// Within `Bounds.quantity`.
    public let quantity: Int64
    /// Minor units; nil with an order, because the order's price applies.
    public let unitPrice: Int64?

    public init(sku: SKU, quantity: Int64, unitPrice: Int64?) {
      self.sku = sku
      self.quantity = quantity
      self.unitPrice = unitPrice
    }
  }

  public let returnID: String
  public let orderID: String?
  /// With an order, these two come from the order.
  public let customerID: String?
  public let country: String?
  public let reason: String?
  public let lines: [Line]
  public let returnedAt: Timestamp
  /// ISO 4217.
  public let currency: String

  /// - Precondition: without an order, every line has a price.
  public init(
    returnID: String, orderID: String?, customerID: String?, country: String?, reason: String?, lines: [Line],
    returnedAt: Timestamp, currency: String
  ) {
    precondition(orderID != nil || lines.allSatisfy { $0.unitPrice != nil }, "a credit note has its own prices")
    self.returnID = returnID
    self.orderID = orderID
    self.customerID = customerID
    self.country = country
    self.reason = reason
    self.lines = lines
    self.returnedAt = returnedAt
    self.currency = currency
  }

  public var streams: [AggregateReference] {
    [AggregateReference(Return.self, returnID, isExpectedNew: true)]
      + (orderID.map { [AggregateReference(Order.self, $0)] } ?? [])
      + Set(lines.map(\.sku)).map { AggregateReference(Product.self, $0.rawValue) }
  }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    guard !decision.state(Return.self, returnID).isRecorded else { throw .returnExists(returnID) }
    var back: [OrderPlaced.Line] = []
    var (customerID, country) = (customerID, country)
    if let orderID {
      let order = decision.state(Order.self, orderID)
      guard order.status != .none else { throw .returnedOrderUnknown(orderID) }
      guard order.isShipped else { throw .orderNotShipped(orderID) }
      (customerID, country) = (order.customerID, order.country)
      let items = try items(of: order)
      back = items.map { item in
        let placed = order.lines[item.line].placed
        return OrderPlaced.Line(
          sku: item.sku, name: placed.name, quantity: item.quantity, unitPrice: item.unitPrice,
          tracksStock: placed.tracksStock)
      }
      // Never nil: the sum is at most the order's total.
      let total = total(items.map { ($0.quantity, $0.unitPrice) }) ?? 0
      decision.emit(
        .itemsReturned(
          OrderItemsReturned(
            orderID: orderID, returnID: returnID, items: items, total: total, returnedAt: returnedAt)),
        to: Order.self, orderID)
    } else {
      var unknown: [UnsaleableLine] = []
      for (index, line) in lines.enumerated() {
        let product = decision.state(Product.self, line.sku.rawValue)
        if !product.isRegistered { unknown.append(.init(index: index, sku: line.sku, reason: .unknown)) }
        // `unitPrice` is not nil: see the initializer's precondition.
        back.append(
          OrderPlaced.Line(
            sku: line.sku, name: product.name, quantity: line.quantity, unitPrice: line.unitPrice!,
            tracksStock: product.tracksStock))
      }
      guard unknown.isEmpty else { throw .productsUnknown(unknown) }
    }
    guard let total = total(back.map { ($0.quantity, $0.unitPrice) }) else { throw .totalOverflows }
    for (sku, quantity) in quantities(of: back) {
      guard !decision.state(Product.self, sku.rawValue).onHand.addingReportingOverflow(quantity).overflow else {
        throw .stockOverflows(sku)
      }
      decision.emit(
        .stockReturned(sku: sku, returnID: returnID, quantity: quantity), to: Product.self, sku.rawValue)
    }
    let recorded = ReturnRecorded(
      returnID: returnID, orderID: orderID, customerID: customerID, country: country, reason: reason,
      lines: back.map { .init(sku: $0.sku, name: $0.name, quantity: $0.quantity, unitPrice: $0.unitPrice) },
      total: total, currency: currency, returnedAt: returnedAt)
    decision.emit(.recorded(recorded), to: Return.self, returnID)
  }

  /// Matches each returned line with the order's lines of the same SKU, in the order's sequence.
  private func items(of order: Order) throws(Rejection) -> [OrderItemsReturned.Item] {
    var returnable = order.lines.map(\.returnable)
    var items: [OrderItemsReturned.Item] = []
    var excessive: [Shortage] = []
    for (index, line) in lines.enumerated() {
      var missing = line.quantity
      var available: Int64 = 0
      for (place, ordered) in order.lines.enumerated() where ordered.placed.sku == line.sku && returnable[place] > 0 {
        available += returnable[place]
        let taken = min(missing, returnable[place])
        guard taken > 0 else { continue }
        returnable[place] -= taken
        missing -= taken
        items.append(.init(line: place, sku: line.sku, quantity: taken, unitPrice: ordered.placed.unitPrice))
      }
      if missing > 0 {
        excessive.append(.init(index: index, sku: line.sku, ordered: line.quantity, available: available))
      }
    }
    guard excessive.isEmpty else { throw .returnExceedsOrder(order: orderID ?? "", excessive) }
    return items
  }
}
