public import EventSourcing
public import JSON

/// An event of an order.
public enum OrderEvent: DomainEvent, Codable, Hashable {
  case placed(OrderPlaced)
  case paid(OrderPaid)
  case shipped(OrderShipped)
  case delivered(orderID: String)
  case cancelled(OrderCancelled)
  case itemsReturned(OrderItemsReturned)

  enum CodingKeys: String, CodingKey, CaseIterable {
    case placed = "OrderPlaced", paid = "OrderPaid", shipped = "OrderShipped", delivered = "OrderDelivered"
    case cancelled = "OrderCancelled", itemsReturned = "OrderItemsReturned"
  }
  enum DeliveredCodingKeys: String, CodingKey { case orderID = "orderId" }

  /// In version 1 there was no stock, so no line reserves any.
  public static let upcasters = [
    Upcaster("OrderPlaced", from: 1) { data throws(EventDecodingError) in
      let lines = try data.elements("lines") { $0.setting("tracksStock", to: .boolean(false)) }
      return data.setting("lines", to: .array(lines))
    }
  ]
}

extension OrderEvent {
  /// Decodes `OrderPlaced` by hand, which takes a third of the time (docs/decisions/0020-synthesised-codecs.md). Most
  /// events are `OrderPlaced`, and several read models read it.
  public static func decode(_ name: String, _ data: JSON) throws(EventDecodingError) -> OrderEvent? {
    if name == CodingKeys.placed.rawValue { return .placed(try OrderPlaced(data)) }
    do { return try data.decode(case: name) } catch { throw .malformed("\(error)") }
  }
}

extension OrderPlaced {
  fileprivate init(_ data: JSON) throws(EventDecodingError) {
    guard let placedAt = Timestamp(try data.text("placedAt")) else {
      throw .malformed("/placedAt: must be a time as RFC 3339 has it")
    }
    self.init(
      orderID: try data.text("orderId"), customerID: data["customerId"]?.string, country: data["country"]?.string,
      lines: try data.elements("lines") { line throws(EventDecodingError) in try Line(line) },
      total: try data.integer("total"), currency: try data.text("currency"), placedAt: placedAt)
  }
}

extension OrderPlaced.Line {
  fileprivate init(_ data: JSON) throws(EventDecodingError) {
    let (quantity, unitPrice) = (try data.integer("quantity"), try data.integer("unitPrice"))
    guard !quantity.multipliedReportingOverflow(by: unitPrice).overflow else {
      throw .malformed("/lines: a line's quantity times its price must fit in 64 bits")
    }
    guard let tracksStock = data["tracksStock"]?.boolean else {
      throw .malformed("/lines: a line's tracksStock must be true or false")
    }
    self.init(
      sku: SKU(stored: try data.text("sku")), name: try data.text("name"), quantity: quantity, unitPrice: unitPrice,
      tracksStock: tracksStock)
  }
}

/// An order, with the names and prices of its products at that time.
public struct OrderPlaced: Codable, Sendable, Hashable {
  public struct Line: Codable, Sendable, Hashable {
    public let sku: SKU
    public let name: String
    public let quantity: Int64
    /// Minor units.
    public let unitPrice: Int64
    /// Whether the line reserves stock.
    public let tracksStock: Bool

    public init(sku: SKU, name: String, quantity: Int64, unitPrice: Int64, tracksStock: Bool) {
      self.sku = sku
      self.name = name
      self.quantity = quantity
      self.unitPrice = unitPrice
      self.tracksStock = tracksStock
    }

    public init(from decoder: any Decoder) throws {
      let values = try decoder.container(keyedBy: CodingKeys.self)
      self.init(
        sku: try values.decode(SKU.self, forKey: .sku), name: try values.decode(String.self, forKey: .name),
        quantity: try values.decode(.quantity, times: .unitPrice),
        unitPrice: try values.decode(Int64.self, forKey: .unitPrice),
        tracksStock: try values.decode(Bool.self, forKey: .tracksStock))
    }

    /// Minor units. It cannot overflow, because quantity and price are bounded.
    public var total: Int64 { quantity * unitPrice }
  }

  public let orderID: String
  public let customerID: String?
  public let country: String?
  public let lines: [Line]
  /// Minor units.
  public let total: Int64
  /// ISO 4217.
  public let currency: String
  public let placedAt: Timestamp

  enum CodingKeys: String, CodingKey {
    case orderID = "orderId", customerID = "customerId", country, lines, total, currency, placedAt
  }

  public init(
    orderID: String, customerID: String?, country: String?, lines: [Line], total: Int64, currency: String,
    placedAt: Timestamp
  ) {
    self.orderID = orderID
    self.customerID = customerID
    self.country = country
    self.lines = lines
    self.total = total
    self.currency = currency
    self.placedAt = placedAt
  }
}

public struct OrderPaid: Codable, Sendable, Hashable {
  public let orderID: String
  /// Minor units.
  public let amount: Int64
  /// The reference of the payment at the payment provider.
  public let reference: String?

  enum CodingKeys: String, CodingKey { case orderID = "orderId", amount, reference }

  public init(orderID: String, amount: Int64, reference: String?) {
    self.orderID = orderID
    self.amount = amount
    self.reference = reference
  }
}

public struct OrderShipped: Codable, Sendable, Hashable {
  public let orderID: String
  public let carrier: String?
  public let trackingCode: String?

  enum CodingKeys: String, CodingKey { case orderID = "orderId", carrier, trackingCode }

  public init(orderID: String, carrier: String?, trackingCode: String?) {
    self.orderID = orderID
    self.carrier = carrier
    self.trackingCode = trackingCode
  }
}

public struct OrderCancelled: Codable, Sendable, Hashable {
  public let orderID: String
  public let reason: String?

  enum CodingKeys: String, CodingKey { case orderID = "orderId", reason }

  public init(orderID: String, reason: String?) {
    self.orderID = orderID
    self.reason = reason
  }
}

/// Items of an order that came back.
public struct OrderItemsReturned: Codable, Sendable, Hashable {
  public struct Item: Codable, Sendable, Hashable {
    /// The index of the order's line, from 0.
    public let line: Int
    public let sku: SKU
    public let quantity: Int64
    /// The line's price in minor units.
    public let unitPrice: Int64

    public init(line: Int, sku: SKU, quantity: Int64, unitPrice: Int64) {
      self.line = line
      self.sku = sku
      self.quantity = quantity
      self.unitPrice = unitPrice
    }

    public init(from decoder: any Decoder) throws {
      let values = try decoder.container(keyedBy: CodingKeys.self)
      self.init(
        line: try values.decode(Int.self, forKey: .line), sku: try values.decode(SKU.self, forKey: .sku),
        quantity: try values.decode(.quantity, times: .unitPrice),
        unitPrice: try values.decode(Int64.self, forKey: .unitPrice))
    }
  }

  public let orderID: String
  public let returnID: String
  public let items: [Item]
  /// Minor units.
  public let total: Int64
  public let returnedAt: Timestamp

  enum CodingKeys: String, CodingKey {
    case orderID = "orderId", returnID = "returnId", items, total, returnedAt
  }

  public init(orderID: String, returnID: String, items: [Item], total: Int64, returnedAt: Timestamp) {
    self.orderID = orderID
    self.returnID = returnID
    self.items = items
    self.total = total
    self.returnedAt = returnedAt
  }
}
