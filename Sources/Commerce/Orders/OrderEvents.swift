public import EventSourcing
public import JSON

/// What can happen to an order.
public enum OrderEvent: DomainEvent, Hashable {
  case placed(OrderPlaced)
  case paid(OrderPaid)
  case shipped(OrderShipped)
  case delivered(orderID: String)
  case cancelled(OrderCancelled)
  case itemsReturned(OrderItemsReturned)

  public var type: String {
    switch self {
    case .placed: "OrderPlaced"
    case .paid: "OrderPaid"
    case .shipped: "OrderShipped"
    case .delivered: "OrderDelivered"
    case .cancelled: "OrderCancelled"
    case .itemsReturned: "OrderItemsReturned"
    }
  }

  public var schemaVersion: Int {
    if case .placed = self { 2 } else { 1 }
  }

  /// Before there was stock, no line reserved any.
  public static let upcasters = [
    Upcaster("OrderPlaced", from: 1) { data throws(EventDecodingError) in
      let lines = try data.elements("lines") { $0.setting("tracksStock", to: .boolean(false)) }
      return data.setting("lines", to: .array(lines))
    }
  ]

  public func encode(into json: inout JSONWriter) {
    json.object { json in
      switch self {
      case .placed(let event): event.encode(into: &json)
      case .paid(let event):
        json.member("orderId", event.orderID)
        json.member("amount", event.amount)
        json.member("reference", ifPresent: event.reference)
      case .shipped(let event):
        json.member("orderId", event.orderID)
        json.member("carrier", ifPresent: event.carrier)
        json.member("trackingCode", ifPresent: event.trackingCode)
      case .delivered(let orderID): json.member("orderId", orderID)
      case .cancelled(let event):
        json.member("orderId", event.orderID)
        json.member("reason", ifPresent: event.reason)
      case .itemsReturned(let event): event.encode(into: &json)
      }
    }
  }

  public init(type: String, schemaVersion: Int, data: JSON) throws(EventDecodingError) {
    switch (type, schemaVersion) {
    case ("OrderPlaced", 2): self = .placed(try OrderPlaced(data))
    case ("OrderPaid", 1):
      self = .paid(
        OrderPaid(
          orderID: try data.text("orderId"), amount: try data.integer("amount"),
          reference: data.optionalText("reference")))
    case ("OrderShipped", 1):
      self = .shipped(
        OrderShipped(
          orderID: try data.text("orderId"), carrier: data.optionalText("carrier"),
          trackingCode: data.optionalText("trackingCode")))
    case ("OrderDelivered", 1): self = .delivered(orderID: try data.text("orderId"))
    case ("OrderCancelled", 1):
      self = .cancelled(OrderCancelled(orderID: try data.text("orderId"), reason: data.optionalText("reason")))
    case ("OrderItemsReturned", 1): self = .itemsReturned(try OrderItemsReturned(data))
    default: throw .unknownType(type, schemaVersion: schemaVersion)
    }
  }
}

/// An order with the names and prices that its products had then.
public struct OrderPlaced: Sendable, Hashable {
  public struct Line: Sendable, Hashable {
    public let sku: SKU
    public let name: String
    public let quantity: Int64
    /// Minor units.
    public let unitPrice: Int64
    /// Whether stock is reserved for it.
    public let tracksStock: Bool

    public init(sku: SKU, name: String, quantity: Int64, unitPrice: Int64, tracksStock: Bool) {
      self.sku = sku
      self.name = name
      self.quantity = quantity
      self.unitPrice = unitPrice
      self.tracksStock = tracksStock
    }

    /// Minor units. Within the bounds of quantity and price it cannot overflow.
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

  fileprivate func encode(into json: inout JSONWriter) {
    json.member("orderId", orderID)
    json.member("customerId", ifPresent: customerID)
    json.member("country", ifPresent: country)
    json.member("lines") { json in
      json.array(lines) { json, line in
        json.object { json in
          json.member("sku", line.sku.rawValue)
          json.member("name", line.name)
          json.member("quantity", line.quantity)
          json.member("unitPrice", line.unitPrice)
          json.member("tracksStock", line.tracksStock)
        }
      }
    }
    json.member("total", total)
    json.member("currency", currency)
    json.member("placedAt", placedAt.description)
  }

  fileprivate init(_ data: JSON) throws(EventDecodingError) {
    self.init(
      orderID: try data.text("orderId"), customerID: data.optionalText("customerId"),
      country: data.optionalText("country"),
      lines: try data.elements("lines") { line throws(EventDecodingError) in
        Line(
          sku: SKU(stored: try line.text("sku")), name: try line.text("name"),
          quantity: try line.amountOf("unitPrice"), unitPrice: try line.integer("unitPrice"),
          tracksStock: try line.boolean("tracksStock"))
      },
      total: try data.integer("total"), currency: try data.text("currency"), placedAt: try data.time("placedAt"))
  }
}

extension JSON {
  /// A line's quantity, which times its price must fit in 64 bits.
  func amountOf(_ price: String) throws(EventDecodingError) -> Int64 {
    let quantity = try integer("quantity")
    guard !quantity.multipliedReportingOverflow(by: try integer(price)).overflow else {
      throw .malformed("a line's total does not fit in 64 bits")
    }
    return quantity
  }
}

public struct OrderPaid: Sendable, Hashable {
  public let orderID: String
  /// Minor units.
  public let amount: Int64
  /// Of the payment, where it was made.
  public let reference: String?

  public init(orderID: String, amount: Int64, reference: String?) {
    self.orderID = orderID
    self.amount = amount
    self.reference = reference
  }
}

public struct OrderShipped: Sendable, Hashable {
  public let orderID: String
  public let carrier: String?
  public let trackingCode: String?

  public init(orderID: String, carrier: String?, trackingCode: String?) {
    self.orderID = orderID
    self.carrier = carrier
    self.trackingCode = trackingCode
  }
}

public struct OrderCancelled: Sendable, Hashable {
  public let orderID: String
  public let reason: String?

  public init(orderID: String, reason: String?) {
    self.orderID = orderID
    self.reason = reason
  }
}

/// Goods of an order that came back.
public struct OrderItemsReturned: Sendable, Hashable {
  public struct Item: Sendable, Hashable {
    /// The order's line, counted from 0.
    public let line: Int
    public let sku: SKU
    public let quantity: Int64
    /// Minor units: the line's.
    public let unitPrice: Int64

    public init(line: Int, sku: SKU, quantity: Int64, unitPrice: Int64) {
      self.line = line
      self.sku = sku
      self.quantity = quantity
      self.unitPrice = unitPrice
    }
  }

  public let orderID: String
  public let returnID: String
  public let items: [Item]
  /// Minor units.
  public let total: Int64
  public let returnedAt: Timestamp

  public init(orderID: String, returnID: String, items: [Item], total: Int64, returnedAt: Timestamp) {
    self.orderID = orderID
    self.returnID = returnID
    self.items = items
    self.total = total
    self.returnedAt = returnedAt
  }

  fileprivate func encode(into json: inout JSONWriter) {
    json.member("orderId", orderID)
    json.member("returnId", returnID)
    json.member("items") { json in
      json.array(items) { json, item in
        json.object { json in
          json.member("line", item.line)
          json.member("sku", item.sku.rawValue)
          json.member("quantity", item.quantity)
          json.member("unitPrice", item.unitPrice)
        }
      }
    }
    json.member("total", total)
    json.member("returnedAt", returnedAt.description)
  }

  fileprivate init(_ data: JSON) throws(EventDecodingError) {
    self.init(
      orderID: try data.text("orderId"), returnID: try data.text("returnId"),
      items: try data.elements("items") { item throws(EventDecodingError) in
        Item(
          line: Int(try item.integer("line")), sku: SKU(stored: try item.text("sku")),
          quantity: try item.amountOf("unitPrice"), unitPrice: try item.integer("unitPrice"))
      },
      total: try data.integer("total"), returnedAt: try data.time("returnedAt"))
  }
}
