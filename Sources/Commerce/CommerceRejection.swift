/// A business rule that a command breaks. Nothing is stored.
public enum CommerceRejection: Error, Sendable, Hashable {
  case productExists(SKU)
  case productNotFound(SKU)
  case orderExists(String)
  case orderNotFound(String)
  /// Lines (counted from 0) whose product is unknown or not on sale any more.
  case productsNotOnSale([UnsaleableLine])
  /// The order's total does not fit in 64 bits of minor units.
  case totalOverflows

  public struct UnsaleableLine: Sendable, Hashable {
    public enum Reason: Sendable, Hashable { case unknown, discontinued }

    public let index: Int
    public let sku: SKU
    public let reason: Reason

    public init(index: Int, sku: SKU, reason: Reason) {
      self.index = index
      self.sku = sku
      self.reason = reason
    }
  }
}
