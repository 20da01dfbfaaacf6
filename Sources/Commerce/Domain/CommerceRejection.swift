/// A business rule that a command breaks. Nothing is stored.
public enum CommerceRejection: Error, Sendable, Hashable {
  case productExists(SKU)
  case productNotFound(SKU)
  case customerExists(String)
  case customerNotFound(String)
  /// Its personal data is erased, and stays so.
  case customerIsErased(String)
  case orderExists(String)
  case orderNotFound(String)
  case orderIsCancelled(String)
  case orderNotPaid(String)
  case orderNotShipped(String)
  case orderIsShipped(String)
  /// The payment is not what the order comes to. Minor units.
  case amountDiffers(String, total: Int64, amount: Int64)
  /// What was read beforehand is not so any more when the command is decided: try again.
  case changedMeanwhile(String)
  case returnExists(String)
  /// The order that a return names is not there.
  case returnedOrderUnknown(String)
  /// Lines (counted from 0) whose product is unknown or not on sale any more.
  case productsNotOnSale([UnsaleableLine])
  /// Lines of a credit note whose product is unknown.
  case productsUnknown([UnsaleableLine])
  /// Stock that cannot be promised.
  case stockLacking([Shortage])
  /// More than was ordered less what came back already.
  case returnExceedsOrder(order: String, [Shortage])
  case stockNotTracked(SKU)
  /// An adjustment would leave less than what is promised to orders.
  case stockBelowReserved(SKU, onHand: Int64, reserved: Int64)
  /// Would not fit in 64 bits.
  case stockOverflows(SKU)
  /// The total is above `Bounds.total`.
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

  /// What a line (counted from 0; the first of its sku) asks for, and what there is.
  public struct Shortage: Sendable, Hashable {
    public let index: Int
    public let sku: SKU
    public let ordered: Int64
    public let available: Int64

    public init(index: Int, sku: SKU, ordered: Int64, available: Int64) {
      self.index = index
      self.sku = sku
      self.ordered = ordered
      self.available = available
    }
  }
}
