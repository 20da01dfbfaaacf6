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

/// A command on one product that is registered.
public protocol ProductCommand: Command {
  var sku: SKU { get }
  /// The event that is called for; nil where there is nothing to do.
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

/// Gives a product another name or description; those that it has already change nothing.
public struct ChangeProductDetails: ProductCommand {
  public let sku: SKU
  /// nil leaves it as it is.
  public let name: String?
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

/// Gives a product another price for the orders to come; the price that it has already changes nothing.
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

/// Takes a product off sale; what was ordered stays ordered.
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

/// Enters goods that have come to the warehouse.
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

/// Corrects the stock after a count, a loss, a find.
public struct AdjustStock: ProductCommand {
  public let sku: SKU
  /// What is added, negative for what is taken away; not 0.
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
