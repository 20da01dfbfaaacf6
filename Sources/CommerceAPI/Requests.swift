public import Commerce
public import EventSourcing
public import JSON

/// The body of `POST /v1/products`.
public struct RegisterProductRequest: Sendable, Hashable {
  public let sku: SKU
  public let name: String
  public let description: String?
  /// Minor units.
  public let unitPrice: Int64

  public init(_ json: JSON) throws(InvalidRequest) {
    var reader = FieldReader(json)
    let sku = reader.sku()
    let name = reader.text("name", length: Bounds.nameLength)
    description = reader.text("description", isRequired: false, length: Bounds.textLength)
    let unitPrice = reader.integer("unitPrice", in: Bounds.unitPrice)
    let errors = reader.finish()
    guard let sku, let name, let unitPrice, errors.isEmpty else { throw InvalidRequest(fields: errors) }
    (self.sku, self.name, self.unitPrice) = (sku, name, unitPrice)
  }
}

/// The body of `PUT /v1/products/{sku}/price`.
public struct ChangePriceRequest: Sendable, Hashable {
  /// Minor units.
  public let unitPrice: Int64

  public init(_ json: JSON) throws(InvalidRequest) {
    var reader = FieldReader(json)
    let unitPrice = reader.integer("unitPrice", in: Bounds.unitPrice)
    let errors = reader.finish()
    guard let unitPrice, errors.isEmpty else { throw InvalidRequest(fields: errors) }
    self.unitPrice = unitPrice
  }
}

/// The body of `POST /v1/orders`.
public struct PlaceOrderRequest: Sendable, Hashable {
  public let orderID: String?
  public let customerID: String?
  public let lines: [PlaceOrder.Line]
  public let placedAt: Timestamp?

  public init(_ json: JSON) throws(InvalidRequest) {
    var reader = FieldReader(json)
    orderID = reader.text("orderId", isRequired: false, problem: Identifier.problem)
    customerID = reader.text("customerId", isRequired: false, problem: Identifier.problem)
    let time = reader.text("placedAt", isRequired: false) {
      Timestamp($0) == nil ? "must be a time as in RFC 3339, such as 2026-11-21T09:30:00Z" : nil
    }
    placedAt = time.flatMap { Timestamp($0) }
    var lines: [PlaceOrder.Line] = []
    for (index, element) in (reader.array("lines", count: Bounds.lines) ?? []).enumerated() {
      var line = FieldReader(element, at: "/lines/\(index)")
      let sku = line.sku()
      let quantity = line.integer("quantity", in: Bounds.quantity)
      reader.adopt(line.finish())
      if let sku, let quantity { lines.append(PlaceOrder.Line(sku: sku, quantity: quantity)) }
    }
    self.lines = lines
    let errors = reader.finish()
    guard errors.isEmpty else { throw InvalidRequest(fields: errors) }
  }
}

/// The body of `POST /v1/orders/{id}/cancellation`.
public struct CancelOrderRequest: Sendable, Hashable {
  public let reason: String

  public init(_ json: JSON) throws(InvalidRequest) {
    var reader = FieldReader(json)
    let reason = reader.text("reason", length: 1...Bounds.textLength.upperBound)
    let errors = reader.finish()
    guard let reason, errors.isEmpty else { throw InvalidRequest(fields: errors) }
    self.reason = reason
  }
}

extension FieldReader {
  fileprivate mutating func sku() -> SKU? {
    var sku: SKU?
    _ = text("sku") { text in
      sku = SKU(text)
      return sku == nil ? SKU.rule : nil
    }
    return sku
  }
}
