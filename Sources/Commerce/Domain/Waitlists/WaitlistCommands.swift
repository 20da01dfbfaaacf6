public import EventSourcing

/// Puts a customer on the waiting list of a product that is not available. Does nothing if the customer is on it.
public struct RequestBackInStock: Command {
  public let sku: SKU
  public let customerID: String

  public init(_ sku: SKU, customerID: String) {
    self.sku = sku
    self.customerID = customerID
  }

  // The product's expected version proves that no stock came while this was decided: `BackInStock` sees the request.
  public var streams: [AggregateReference] {
    [
      AggregateReference(Waitlist.self, sku.rawValue), AggregateReference(Product.self, sku.rawValue),
      AggregateReference(Customer.self, customerID),
    ]
  }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    let product = decision.state(Product.self, sku.rawValue)
    guard product.isRegistered else { throw .productNotFound(sku) }
    let customer = decision.state(Customer.self, customerID)
    guard customer.isRegistered else { throw .waitingCustomerUnknown(customerID) }
    guard customer.erased == nil else { throw .customerIsErased(customerID) }
    let waitlist = decision.state(Waitlist.self, sku.rawValue)
    guard !waitlist.waiting.contains(customerID) else { return }
    guard !product.isAvailable else { throw .productIsAvailable(sku) }
    guard !waitlist.isFull else { throw .waitlistIsFull(sku) }
    decision.emit(.requested(sku: sku, customerID: customerID), to: Waitlist.self, sku.rawValue)
  }
}

/// Notifies the customers who have waited longest that a product is available. Does nothing if it is not available any more.
public struct NotifyWaitlist: Command {
  /// Customers who get their notice in one append.
  public static let most = 100

  public let sku: SKU
  public let customerIDs: [String]

  /// - Parameter waitlist: not empty.
  public init(_ sku: SKU, _ waitlist: Waitlist) {
    self.sku = sku
    customerIDs = Array(waitlist.waiting.prefix(Self.most))
  }

  public var streams: [AggregateReference] {
    [AggregateReference(Waitlist.self, sku.rawValue), AggregateReference(Product.self, sku.rawValue)]
      + customerIDs.map { AggregateReference(BackInStockNotices.self, BackInStockNotices.id(sku, $0)) }
  }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    let product = decision.state(Product.self, sku.rawValue)
    guard product.isAvailable else { return }
    decision.emit(.notified(sku: sku, customerIDs: customerIDs), to: Waitlist.self, sku.rawValue)
    for customerID in customerIDs {
      let notice = BackInStockNoticed(sku: sku, name: product.name, customerID: customerID)
      decision.emit(.noticed(notice), to: BackInStockNotices.self, BackInStockNotices.id(sku, customerID))
    }
  }
}
