public import EventSourcing
public import JSON

/// What can happen to an order.
public enum OrderEvent: DomainEvent, Hashable {
  case placed(OrderPlaced)
  case cancelled(OrderCancelled)

  public var type: String {
    switch self {
    case .placed: "OrderPlaced"
    case .cancelled: "OrderCancelled"
    }
  }

  public var schemaVersion: Int { 1 }

  public func encode(into json: inout JSONWriter) {
    json.object { json in
      switch self {
      case .placed(let event): event.encode(into: &json)
      case .cancelled(let event):
        json.member("orderId", event.orderID)
        json.member("reason", event.reason)
      }
    }
  }

  public init(type: String, schemaVersion: Int, data: JSON) throws(EventDecodingError) {
    switch (type, schemaVersion) {
    case ("OrderPlaced", 1): self = .placed(try OrderPlaced(data))
    case ("OrderCancelled", 1):
      self = .cancelled(OrderCancelled(orderID: try data.text("orderId"), reason: try data.text("reason")))
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

    public init(sku: SKU, name: String, quantity: Int64, unitPrice: Int64) {
      self.sku = sku
      self.name = name
      self.quantity = quantity
      self.unitPrice = unitPrice
    }

    /// Minor units. Within the bounds of quantity and price it cannot overflow.
    public var total: Int64 { quantity * unitPrice }
  }

  public let orderID: String
  public let customerID: String?
  public let lines: [Line]
  /// Minor units.
  public let total: Int64
  /// ISO 4217.
  public let currency: String
  public let placedAt: Timestamp

  public init(
    orderID: String, customerID: String?, lines: [Line], total: Int64, currency: String, placedAt: Timestamp
  ) {
    self.orderID = orderID
    self.customerID = customerID
    self.lines = lines
    self.total = total
    self.currency = currency
    self.placedAt = placedAt
  }

  fileprivate func encode(into json: inout JSONWriter) {
    json.member("orderId", orderID)
    json.member("customerId", ifPresent: customerID)
    json.member("lines") { json in
      json.array(lines) { json, line in
        json.object { json in
          json.member("sku", line.sku.rawValue)
          json.member("name", line.name)
          json.member("quantity", line.quantity)
          json.member("unitPrice", line.unitPrice)
        }
      }
    }
    json.member("total", total)
    json.member("currency", currency)
    json.member("placedAt", placedAt.description)
  }

  fileprivate init(_ data: JSON) throws(EventDecodingError) {
    guard let lines = data["lines"]?.array else { throw .malformed("lines is not an array") }
    guard let placedAt = Timestamp(try data.text("placedAt")) else { throw .malformed("placedAt is not a time") }
    self.init(
      orderID: try data.text("orderId"), customerID: data["customerId"]?.string,
      lines: try lines.map { line throws(EventDecodingError) in
        let amount = try line.integer("quantity").multipliedReportingOverflow(by: try line.integer("unitPrice"))
        guard !amount.overflow else { throw .malformed("a line's total does not fit in 64 bits") }
        return Line(
          sku: SKU(stored: try line.text("sku")), name: try line.text("name"), quantity: try line.integer("quantity"),
          unitPrice: try line.integer("unitPrice"))
      },
      total: try data.integer("total"), currency: try data.text("currency"), placedAt: placedAt)
  }
}

public struct OrderCancelled: Sendable, Hashable {
  public let orderID: String
  public let reason: String

  public init(orderID: String, reason: String) {
    self.orderID = orderID
    self.reason = reason
  }
}

/// An order as decisions see it.
public struct Order: Aggregate, Hashable {
  public static let category = "order"

  public enum Status: String, Sendable { case none, placed, cancelled }

  public private(set) var status = Status.none

  public init() {}

  public mutating func apply(_ event: OrderEvent) {
    switch event {
    case .placed: status = .placed
    case .cancelled: status = .cancelled
    }
  }
}
