public import EventSourcing

/// Adds a product to the catalogue.
public struct RegisterProduct: Command {
  public let product: ProductRegistered

  public init(_ product: ProductRegistered) { self.product = product }

  public var streams: [AggregateReference] {
    [AggregateReference(Product.self, product.sku.rawValue, isExpectedNew: true)]
  }

  public func decide(_ decision: inout Decision) throws(CommerceRejection) {
    guard decision.state(Product.self, product.sku.rawValue).registration == nil else {
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
    guard product.registration != nil else { throw .productNotFound(sku) }
    guard !product.isDiscontinued else { return }
    decision.emit(.discontinued(ProductDiscontinued(sku: sku)), to: Product.self, sku.rawValue)
  }
}
