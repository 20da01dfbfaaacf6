public import EventSourcing
public import JSON

/// What can happen to a product and to its stock.
public enum ProductEvent: DomainEvent, Hashable {
  case registered(ProductRegistered)
  case detailsChanged(ProductDetailsChanged)
  case priceChanged(ProductPriceChanged)
  case discontinued(SKU)
  case reinstated(SKU)
  case stockReceived(SKU, quantity: Int64)
  case stockAdjusted(SKU, quantity: Int64, reason: String)
  case stockReserved(StockMoved)
  case stockReleased(StockMoved)
  case stockShipped(StockMoved)
  case stockReturned(SKU, returnID: String, quantity: Int64)

  public var type: String {
    switch self {
    case .registered: "ProductRegistered"
    case .detailsChanged: "ProductDetailsChanged"
    case .priceChanged: "ProductPriceChanged"
    case .discontinued: "ProductDiscontinued"
    case .reinstated: "ProductReinstated"
    case .stockReceived: "StockReceived"
    case .stockAdjusted: "StockAdjusted"
    case .stockReserved: "StockReserved"
    case .stockReleased: "StockReleased"
    case .stockShipped: "StockShipped"
    case .stockReturned: "StockReturned"
    }
  }

  public var schemaVersion: Int {
    if case .registered = self { 2 } else { 1 }
  }

  /// Before there was stock, none was tracked.
  public static let upcasters = [
    Upcaster("ProductRegistered", from: 1) { $0.setting("tracksStock", to: .boolean(false)) }
  ]

  public func encode(into json: inout JSONWriter) {
    json.object { json in
      switch self {
      case .registered(let event): event.encode(into: &json)
      case .detailsChanged(let event):
        json.member("sku", event.sku.rawValue)
        json.member("name", ifPresent: event.name)
        json.member("description", ifPresent: event.description)
      case .priceChanged(let event):
        json.member("sku", event.sku.rawValue)
        json.member("unitPrice", event.unitPrice)
      case .discontinued(let sku), .reinstated(let sku): json.member("sku", sku.rawValue)
      case .stockReceived(let sku, let quantity):
        json.member("sku", sku.rawValue)
        json.member("quantity", quantity)
      case .stockAdjusted(let sku, let quantity, let reason):
        json.member("sku", sku.rawValue)
        json.member("quantity", quantity)
        json.member("reason", reason)
      case .stockReserved(let event), .stockReleased(let event), .stockShipped(let event):
        json.member("sku", event.sku.rawValue)
        json.member("orderId", event.orderID)
        json.member("quantity", event.quantity)
      case .stockReturned(let sku, let returnID, let quantity):
        json.member("sku", sku.rawValue)
        json.member("returnId", returnID)
        json.member("quantity", quantity)
      }
    }
  }

  public init(type: String, schemaVersion: Int, data: JSON) throws(EventDecodingError) {
    let sku = { () throws(EventDecodingError) in SKU(stored: try data.text("sku")) }
    switch (type, schemaVersion) {
    case ("ProductRegistered", 2): self = .registered(try ProductRegistered(data))
    case ("ProductDetailsChanged", 1):
      self = .detailsChanged(
        ProductDetailsChanged(
          sku: try sku(), name: data["name"]?.string, description: data["description"]?.string))
    case ("ProductPriceChanged", 1):
      self = .priceChanged(ProductPriceChanged(sku: try sku(), unitPrice: try data.integer("unitPrice")))
    case ("ProductDiscontinued", 1): self = .discontinued(try sku())
    case ("ProductReinstated", 1): self = .reinstated(try sku())
    case ("StockReceived", 1): self = .stockReceived(try sku(), quantity: try data.integer("quantity"))
    case ("StockAdjusted", 1):
      self = .stockAdjusted(try sku(), quantity: try data.integer("quantity"), reason: try data.text("reason"))
    case ("StockReserved", 1): self = .stockReserved(try StockMoved(data))
    case ("StockReleased", 1): self = .stockReleased(try StockMoved(data))
    case ("StockShipped", 1): self = .stockShipped(try StockMoved(data))
    case ("StockReturned", 1):
      self = .stockReturned(
        try sku(), returnID: try data.text("returnId"), quantity: try data.integer("quantity"))
    default: throw .unknownType(type, schemaVersion: schemaVersion)
    }
  }
}

public struct ProductRegistered: Sendable, Hashable {
  public let sku: SKU
  public let name: String
  public let description: String?
  /// Minor units.
  public let unitPrice: Int64
  /// ISO 4217.
  public let currency: String
  /// Whether orders reserve stock, and need it.
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

  fileprivate func encode(into json: inout JSONWriter) {
    json.member("sku", sku.rawValue)
    json.member("name", name)
    json.member("description", ifPresent: description)
    json.member("unitPrice", unitPrice)
    json.member("currency", currency)
    json.member("tracksStock", tracksStock)
  }

  fileprivate init(_ data: JSON) throws(EventDecodingError) {
    self.init(
      sku: SKU(stored: try data.text("sku")), name: try data.text("name"), description: data["description"]?.string,
      unitPrice: try data.integer("unitPrice"), currency: try data.text("currency"),
      tracksStock: try data.boolean("tracksStock"))
  }
}

/// What is nil stays as it was.
public struct ProductDetailsChanged: Sendable, Hashable {
  public let sku: SKU
  public let name: String?
  public let description: String?

  public init(sku: SKU, name: String?, description: String?) {
    self.sku = sku
    self.name = name
    self.description = description
  }
}

public struct ProductPriceChanged: Sendable, Hashable {
  public let sku: SKU
  /// Minor units.
  public let unitPrice: Int64

  public init(sku: SKU, unitPrice: Int64) {
    self.sku = sku
    self.unitPrice = unitPrice
  }
}

/// Stock that an order reserves, gives back, or takes with it.
public struct StockMoved: Sendable, Hashable {
  public let sku: SKU
  public let orderID: String
  public let quantity: Int64

  public init(sku: SKU, orderID: String, quantity: Int64) {
    self.sku = sku
    self.orderID = orderID
    self.quantity = quantity
  }

  fileprivate init(_ data: JSON) throws(EventDecodingError) {
    self.init(
      sku: SKU(stored: try data.text("sku")), orderID: try data.text("orderId"), quantity: try data.integer("quantity"))
  }
}
