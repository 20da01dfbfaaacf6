public import EventSourcing
public import JSON

/// What can happen to a product.
public enum ProductEvent: DomainEvent, Hashable {
  case registered(ProductRegistered)
  case priceChanged(ProductPriceChanged)
  case discontinued(ProductDiscontinued)

  public var type: String {
    switch self {
    case .registered: "ProductRegistered"
    case .priceChanged: "ProductPriceChanged"
    case .discontinued: "ProductDiscontinued"
    }
  }

  public var schemaVersion: Int { 1 }

  public func encode(into json: inout JSONWriter) {
    json.object { json in
      switch self {
      case .registered(let event):
        json.member("sku", event.sku.rawValue)
        json.member("name", event.name)
        json.member("description", ifPresent: event.description)
        json.member("unitPrice", event.unitPrice)
        json.member("currency", event.currency)
      case .priceChanged(let event):
        json.member("sku", event.sku.rawValue)
        json.member("unitPrice", event.unitPrice)
      case .discontinued(let event):
        json.member("sku", event.sku.rawValue)
      }
    }
  }

  public init(type: String, schemaVersion: Int, data: JSON) throws(EventDecodingError) {
    switch (type, schemaVersion) {
    case ("ProductRegistered", 1):
      self = .registered(
        ProductRegistered(
          sku: SKU(stored: try data.text("sku")), name: try data.text("name"),
          description: data["description"]?.string, unitPrice: try data.integer("unitPrice"),
          currency: try data.text("currency")))
    case ("ProductPriceChanged", 1):
      self = .priceChanged(
        ProductPriceChanged(sku: SKU(stored: try data.text("sku")), unitPrice: try data.integer("unitPrice")))
    case ("ProductDiscontinued", 1):
      self = .discontinued(ProductDiscontinued(sku: SKU(stored: try data.text("sku"))))
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

  public init(sku: SKU, name: String, description: String?, unitPrice: Int64, currency: String) {
    self.sku = sku
    self.name = name
    self.description = description
    self.unitPrice = unitPrice
    self.currency = currency
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

public struct ProductDiscontinued: Sendable, Hashable {
  public let sku: SKU

  public init(sku: SKU) { self.sku = sku }
}

/// A product as decisions see it.
public struct Product: SnapshottingAggregate, Hashable {
  public static let category = "product"
  /// Prices change often over the years.
  public static let snapshotPolicy = SnapshotPolicy(every: 500, schemaVersion: 1)

  /// Empty before it is registered.
  public private(set) var name = ""
  /// Minor units; 0 before it is registered.
  public private(set) var unitPrice: Int64 = 0
  public private(set) var isRegistered = false
  public private(set) var isDiscontinued = false

  public init() {}

  public var isOnSale: Bool { isRegistered && !isDiscontinued }
  public var footprint: Int { MemoryLayout<Self>.size + name.utf8.count }

  public mutating func apply(_ event: ProductEvent) {
    switch event {
    case .registered(let event): (name, unitPrice, isRegistered) = (event.name, event.unitPrice, true)
    case .priceChanged(let event): unitPrice = event.unitPrice
    case .discontinued: isDiscontinued = true
    }
  }

  public func encodeSnapshot(into json: inout JSONWriter) {
    json.object { json in
      json.member("name", name)
      json.member("unitPrice", unitPrice)
      json.member("isRegistered", isRegistered)
      json.member("isDiscontinued", isDiscontinued)
    }
  }

  public init(snapshot: JSON) throws(EventDecodingError) {
    name = try snapshot.text("name")
    unitPrice = try snapshot.integer("unitPrice")
    isRegistered = try snapshot.boolean("isRegistered")
    isDiscontinued = try snapshot.boolean("isDiscontinued")
  }
}
