public import EventSourcing

/// Adds a product to the catalogue.
public struct RegisterProduct: Command {
  public let product: ProductRegistered

  public init(_ product: ProductRegistered) { self.product = product }

  public var streams: [AggregateReference] {
    [AggregateReference(Product.self, product.sku.rawValue, isExpectedNew: true)]
  }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    guard !decision.state(Product.self, product.sku.rawValue).isRegistered else {
      throw .productExists(product.sku)
    }
    decision.emit(.registered(product), to: Product.self, product.sku.rawValue)
  }
}

/// A command on one registered product.
public protocol ProductCommand: Command {
  var sku: SKU { get }
  /// Returns the event to append, or nil if nothing changes.
  func event(_ product: Product) throws(Rejection) -> ProductEvent?
}

extension ProductCommand {
  public var streams: [AggregateReference] { [AggregateReference(Product.self, sku.rawValue)] }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    let product = decision.state(Product.self, sku.rawValue)
    guard product.isRegistered else { throw .productNotFound(sku) }
    if let event = try event(product) { decision.emit(event, to: Product.self, sku.rawValue) }
  }
}

/// Changes a product's name or description. Does nothing if both are the same as before.
public struct ChangeProductDetails: ProductCommand {
  public let sku: SKU
  /// nil keeps the current name.
  public let name: String?
  /// nil keeps the current description.
  public let description: String?

  public init(_ sku: SKU, name: String?, description: String?) {
    self.sku = sku
    self.name = name
    self.description = description
  }

  public func event(_ product: Product) -> ProductEvent? {
    let newName = name == product.name ? nil : name
    let newDescription = description == product.description ? nil : description
    guard newName != nil || newDescription != nil else { return nil }
    return .detailsChanged(ProductDetailsChanged(sku: sku, name: newName, description: newDescription))
  }
}

/// Changes a product's price for future orders. Does nothing if the price is the same as before.
public struct ChangePrice: ProductCommand {
  public let sku: SKU
  /// Minor units, within `Bounds.unitPrice`.
  public let unitPrice: Int64

  public init(_ sku: SKU, unitPrice: Int64) {
    self.sku = sku
    self.unitPrice = unitPrice
  }

  public func event(_ product: Product) -> ProductEvent? {
    product.unitPrice == unitPrice ? nil : .priceChanged(ProductPriceChanged(sku: sku, unitPrice: unitPrice))
  }
}

/// Takes a product off sale. Existing orders do not change.
public struct DiscontinueProduct: ProductCommand {
  public let sku: SKU

  public init(_ sku: SKU) { self.sku = sku }

  public func event(_ product: Product) -> ProductEvent? { product.isDiscontinued ? nil : .discontinued(sku: sku) }
}

/// Puts a discontinued product on sale again.
public struct ReinstateProduct: ProductCommand {
  public let sku: SKU

  public init(_ sku: SKU) { self.sku = sku }

  public func event(_ product: Product) -> ProductEvent? { product.isDiscontinued ? .reinstated(sku: sku) : nil }
}

/// Adds goods that arrived at the warehouse to the stock.
public struct ReceiveStock: ProductCommand {
  public let sku: SKU
  /// Within `Bounds.quantity`.
  public let quantity: Int64

  public init(_ sku: SKU, quantity: Int64) {
    self.sku = sku
    self.quantity = quantity
  }

  public func event(_ product: Product) throws(Rejection) -> ProductEvent? {
    guard product.tracksStock else { throw .stockNotTracked(sku) }
    guard !product.onHand.addingReportingOverflow(quantity).overflow else { throw .stockOverflows(sku) }
    return .stockReceived(sku: sku, quantity: quantity)
  }
}

/// Corrects the stock after a count, a loss or a find.
public struct AdjustStock: ProductCommand {
  public let sku: SKU
  /// The change in stock, not 0. Negative to take stock away.
  public let quantity: Int64
  public let reason: String

  public init(_ sku: SKU, quantity: Int64, reason: String) {
    self.sku = sku
    self.quantity = quantity
    self.reason = reason
  }

  public func event(_ product: Product) throws(Rejection) -> ProductEvent? {
    guard product.tracksStock else { throw .stockNotTracked(sku) }
    let (onHand, overflows) = product.onHand.addingReportingOverflow(quantity)
    guard !overflows else { throw .stockOverflows(sku) }
    guard onHand >= product.reserved else {
      throw .stockBelowReserved(sku, onHand: product.onHand, reserved: product.reserved)
    }
    return .stockAdjusted(sku: sku, quantity: quantity, reason: reason)
  }
}
