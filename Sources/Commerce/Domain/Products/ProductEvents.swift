public import EventSourcing
internal import JSON

/// An event of a product or its stock.
public enum ProductEvent: DomainEvent, Codable, Hashable {
  case registered(ProductRegistered)
  case detailsChanged(ProductDetailsChanged)
  case priceChanged(ProductPriceChanged)
  case discontinued(sku: SKU)
  case reinstated(sku: SKU)
  case stockReceived(sku: SKU, quantity: Int64)
  case stockAdjusted(sku: SKU, quantity: Int64, reason: String)
  case stockReserved(StockMoved)
  case stockReleased(StockMoved)
  case stockShipped(StockMoved)
  case stockReturned(sku: SKU, returnID: String, quantity: Int64)

  enum CodingKeys: String, CodingKey, CaseIterable {
    case registered = "ProductRegistered", detailsChanged = "ProductDetailsChanged"
    case priceChanged = "ProductPriceChanged", discontinued = "ProductDiscontinued", reinstated = "ProductReinstated"
    case stockReceived = "StockReceived", stockAdjusted = "StockAdjusted", stockReserved = "StockReserved"
    case stockReleased = "StockReleased", stockShipped = "StockShipped", stockReturned = "StockReturned"
  }
  enum StockReturnedCodingKeys: String, CodingKey { case sku, returnID = "returnId", quantity }

  /// In version 1 there was no stock, so none is tracked.
  public static let upcasters = [
    Upcaster("ProductRegistered", from: 1) { $0.setting("tracksStock", to: .boolean(false)) }
  ]
}

public struct ProductRegistered: Codable, Sendable, Hashable {
  public let sku: SKU
  public let name: String
  public let description: String?
  /// Minor units.
  public let unitPrice: Int64
  /// ISO 4217.
  public let currency: String
  /// Whether orders need stock and reserve it.
  public let tracksStock: Bool

  public init(
    sku: SKU, name: String, description: String?, unitPrice: Int64, currency: String, tracksStock: Bool
  ) {
    self.sku = sku
    self.name = name
    self.description = description
    self.unitPrice = unitPrice
    self.currency = currency
    self.tracksStock = tracksStock
  }
}

/// A change to a product. Properties that are nil stay as they were.
public struct ProductDetailsChanged: Codable, Sendable, Hashable {
  public let sku: SKU
  public let name: String?
  public let description: String?

  public init(sku: SKU, name: String?, description: String?) {
    self.sku = sku
    self.name = name
    self.description = description
  }
}

public struct ProductPriceChanged: Codable, Sendable, Hashable {
  public let sku: SKU
  /// Minor units.
  public let unitPrice: Int64

  public init(sku: SKU, unitPrice: Int64) {
    self.sku = sku
    self.unitPrice = unitPrice
  }
}

/// Stock that an order reserves, releases or ships.
public struct StockMoved: Codable, Sendable, Hashable {
  public let sku: SKU
  public let orderID: String
  public let quantity: Int64

  enum CodingKeys: String, CodingKey { case sku, orderID = "orderId", quantity }

  public init(sku: SKU, orderID: String, quantity: Int64) {
    self.sku = sku
    self.orderID = orderID
    self.quantity = quantity
  }
}
