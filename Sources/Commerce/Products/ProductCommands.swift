public import EventSourcing

/// Adds a product to the catalogue.
public struct RegisterProduct: Command {
  public let product: ProductRegistered

  public init(_ product: ProductRegistered) { self.product = product }

  public var streams: [AggregateReference] {
    [AggregateReference(Product.self, product.sku.rawValue, isExpectedNew: true)]
  }

  public func decide(_ decision: inout Decision) throws(CommerceRejection) {
    guard !decision.state(Product.self, product.sku.rawValue).isRegistered else {
      throw .productExists(product.sku)
    }
    decision.emit(.registered(product), to: Product.self, product.sku.rawValue)
  }
}

/// Takes a product off sale; what was ordered stays ordered.
public struct DiscontinueProduct: Command {
  public let sku: SKU

  public init(_ sku: SKU) { self.sku = sku }

  public var streams: [AggregateReference] { [AggregateReference(Product.self, sku.rawValue)] }

  public func decide(_ decision: inout Decision) throws(CommerceRejection) {
    let product = decision.state(Product.self, sku.rawValue)
    guard product.isRegistered else { throw .productNotFound(sku) }
    guard !product.isDiscontinued else { return }
    decision.emit(.discontinued(ProductDiscontinued(sku: sku)), to: Product.self, sku.rawValue)
  }
}

/// Gives a product another price for the orders to come; the price that it has already changes nothing.
public struct ChangePrice: Command {
  public let sku: SKU
  /// Minor units, within `Bounds.unitPrice`.
  public let unitPrice: Int64

  public init(_ sku: SKU, unitPrice: Int64) {
    self.sku = sku
    self.unitPrice = unitPrice
  }

  public var streams: [AggregateReference] { [AggregateReference(Product.self, sku.rawValue)] }

  public func decide(_ decision: inout Decision) throws(CommerceRejection) {
    let product = decision.state(Product.self, sku.rawValue)
    guard product.isRegistered else { throw .productNotFound(sku) }
    guard product.unitPrice != unitPrice else { return }
    decision.emit(
      .priceChanged(ProductPriceChanged(sku: sku, unitPrice: unitPrice)), to: Product.self, sku.rawValue)
  }
}
