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
  public let tracksStock: Bool

  public init(_ json: JSON) throws(Rejection) {
    var reader = FieldReader(json)
    let sku = reader.sku()
    let name = reader.text("name", length: Bounds.nameLength)
    description = reader.text("description", isRequired: false, length: Bounds.textLength)
    let unitPrice = reader.integer("unitPrice", in: Bounds.unitPrice)
    tracksStock = reader.boolean("tracksStock") ?? true
    let errors = reader.finish()
    guard let sku, let name, let unitPrice, errors.isEmpty else { throw Rejection.invalidRequest(errors) }
    (self.sku, self.name, self.unitPrice) = (sku, name, unitPrice)
  }
}

/// The body of `PATCH /v1/products/{sku}`.
public struct ChangeProductDetailsRequest: Sendable, Hashable {
  public let name: String?
  public let description: String?

  public init(_ json: JSON) throws(Rejection) {
    var reader = FieldReader(json)
    name = reader.text("name", isRequired: false, length: Bounds.nameLength)
    description = reader.text("description", isRequired: false, length: Bounds.textLength)
    reader.requireOne(of: ["name", "description"])
    let errors = reader.finish()
    guard errors.isEmpty else { throw Rejection.invalidRequest(errors) }
  }
}

/// The body of `PUT /v1/products/{sku}/price`.
public struct ChangePriceRequest: Sendable, Hashable {
  /// Minor units.
  public let unitPrice: Int64

  public init(_ json: JSON) throws(Rejection) {
    var reader = FieldReader(json)
    let unitPrice = reader.integer("unitPrice", in: Bounds.unitPrice)
    let errors = reader.finish()
    guard let unitPrice, errors.isEmpty else { throw Rejection.invalidRequest(errors) }
    self.unitPrice = unitPrice
  }
}

/// The body of `POST /v1/products/{sku}/stock/receipts`.
public struct ReceiveStockRequest: Sendable, Hashable {
  public let quantity: Int64

  public init(_ json: JSON) throws(Rejection) {
    var reader = FieldReader(json)
    let quantity = reader.integer("quantity", in: Bounds.quantity)
    let errors = reader.finish()
    guard let quantity, errors.isEmpty else { throw Rejection.invalidRequest(errors) }
    self.quantity = quantity
  }
}

/// The body of `POST /v1/products/{sku}/stock/adjustments`.
public struct AdjustStockRequest: Sendable, Hashable {
  /// Not 0.
  public let quantity: Int64
  public let reason: String

  public init(_ json: JSON) throws(Rejection) {
    var reader = FieldReader(json)
    let quantity = reader.integer("quantity", in: -Bounds.quantity.upperBound...Bounds.quantity.upperBound)
    if quantity == 0 { reader.fail("quantity", "must not be 0") }
    let reason = reader.reason(isRequired: true)
    let errors = reader.finish()
    guard let quantity, let reason, errors.isEmpty else { throw Rejection.invalidRequest(errors) }
    (self.quantity, self.reason) = (quantity, reason)
  }
}

/// The body of `POST /v1/orders`.
public struct PlaceOrderRequest: Sendable, Hashable {
  public let orderID: String?
  public let customerID: String?
  public let country: String?
  public let lines: [PlaceOrder.Line]
  public let placedAt: Timestamp?

  public init(_ json: JSON, now: Timestamp) throws(Rejection) {
    var reader = FieldReader(json)
    orderID = reader.text("orderId", isRequired: false, problem: Identifier.problem)
    customerID = reader.text("customerId", isRequired: false, problem: Identifier.problem)
    country = reader.country()
    placedAt = reader.time("placedAt", now: now)
    lines = reader.lines(isPriceRequired: false) { sku, quantity, unitPrice in
      PlaceOrder.Line(sku: sku, quantity: quantity, unitPrice: unitPrice)
    }
    let errors = reader.finish()
    guard errors.isEmpty else { throw Rejection.invalidRequest(errors) }
  }
}

/// The body of `POST /v1/orders/{id}/payment`.
public struct PayOrderRequest: Sendable, Hashable {
  /// Minor units.
  public let amount: Int64
  public let reference: String?

  public init(_ json: JSON) throws(Rejection) {
    var reader = FieldReader(json)
    let amount = reader.integer("amount", in: 1...Int64.max)
    reference = reader.text("reference", isRequired: false, length: Bounds.nameLength)
    let errors = reader.finish()
    guard let amount, errors.isEmpty else { throw Rejection.invalidRequest(errors) }
    self.amount = amount
  }
}

/// The body of `POST /v1/orders/{id}/shipment`.
public struct ShipOrderRequest: Sendable, Hashable {
  public let carrier: String?
  public let trackingCode: String?

  public init(_ json: JSON) throws(Rejection) {
    var reader = FieldReader(json)
    carrier = reader.text("carrier", isRequired: false, length: Bounds.nameLength)
    trackingCode = reader.text("trackingCode", isRequired: false, length: Bounds.nameLength)
    let errors = reader.finish()
    guard errors.isEmpty else { throw Rejection.invalidRequest(errors) }
  }
}

/// A body without members, such as that of `POST /v1/orders/{id}/delivery`.
public struct EmptyRequest: Sendable, Hashable {
  public init(_ json: JSON) throws(Rejection) {
    let errors = FieldReader(json).finish()
    guard errors.isEmpty else { throw Rejection.invalidRequest(errors) }
  }
}

/// The body of `POST /v1/orders/{id}/cancellation` and `DELETE /v1/customers/{id}/personal-data`.
public struct ReasonRequest: Sendable, Hashable {
  public let reason: String?

  public init(_ json: JSON) throws(Rejection) {
    var reader = FieldReader(json)
    reason = reader.reason(isRequired: false)
    let errors = reader.finish()
    guard errors.isEmpty else { throw Rejection.invalidRequest(errors) }
  }
}

/// The body of `POST /v1/returns`.
public struct RecordReturnRequest: Sendable, Hashable {
  public let returnID: String?
  public let orderID: String?
  public let customerID: String?
  public let country: String?
  public let returnedAt: Timestamp?
  public let reason: String?
  public let lines: [RecordReturn.Line]

  public init(_ json: JSON, now: Timestamp) throws(Rejection) {
    var reader = FieldReader(json)
    returnID = reader.text("returnId", isRequired: false, problem: Identifier.problem)
    orderID = reader.text("orderId", isRequired: false, problem: Identifier.problem)
    customerID = reader.text("customerId", isRequired: false, problem: Identifier.problem)
    country = reader.country()
    returnedAt = reader.time("returnedAt", now: now)
    reason = reader.reason(isRequired: false)
    let isOfOrder = reader.has("orderId")
    for name in ["customerId", "country"] where isOfOrder && reader.has(name) {
      reader.fail(name, "must be left out beside an orderId: the order's counts")
    }
    lines = reader.lines(isPriceRequired: !isOfOrder) { sku, quantity, unitPrice in
      RecordReturn.Line(sku: sku, quantity: quantity, unitPrice: unitPrice)
    }
    for (index, line) in lines.enumerated() where isOfOrder && line.unitPrice != nil {
      reader.adopt([
        Rejection.FieldError(
          pointer: "/lines/\(index)/unitPrice", detail: "must be left out beside an orderId: the order's price counts")
      ])
    }
    let errors = reader.finish()
    guard errors.isEmpty else { throw Rejection.invalidRequest(errors) }
  }
}

/// The body of `POST /v1/customers`.
public struct RegisterCustomerRequest: Sendable, Hashable {
  public let customerID: String?
  public let personal: PersonalData
  public let country: String?

  public init(_ json: JSON) throws(Rejection) {
    var reader = FieldReader(json)
    customerID = reader.text("customerId", isRequired: false, problem: Identifier.problem)
    let name = reader.text("name", length: Bounds.nameLength)
    personal = PersonalData(name: name, email: reader.email())
    country = reader.country()
    let errors = reader.finish()
    guard errors.isEmpty else { throw Rejection.invalidRequest(errors) }
  }
}

/// The body of `PATCH /v1/customers/{id}`.
public struct ChangeCustomerRequest: Sendable, Hashable {
  /// nil keeps the personal data as it is.
  public let personal: PersonalData?
  public let country: String?

  public init(_ json: JSON) throws(Rejection) {
    var reader = FieldReader(json)
    let name = reader.text("name", isRequired: false, length: Bounds.nameLength)
    let email = reader.email()
    personal = name == nil && email == nil ? nil : PersonalData(name: name, email: email)
    country = reader.country()
    reader.requireOne(of: ["name", "email", "country"])
    let errors = reader.finish()
    guard errors.isEmpty else { throw Rejection.invalidRequest(errors) }
  }
}

extension FieldReader {
  /// Checks only the form of an address. Only an e-mail could show that it exists.
  fileprivate mutating func email() -> String? {
    text("email", isRequired: false) { text in
      let parts = text.split(separator: "@", omittingEmptySubsequences: false)
      let isAddress =
        parts.count == 2 && !parts.contains("") && (3...254).contains(text.utf8.count)
        && !text.unicodeScalars.contains { $0.properties.isWhitespace || $0.value < 0x20 }
      return isAddress ? nil : "must be an e-mail address of at most 254 bytes"
    }
  }

  fileprivate mutating func sku() -> SKU? {
    var sku: SKU?
    _ = text("sku") { text in
      sku = SKU(text)
      return sku == nil ? SKU.rule : nil
    }
    return sku
  }

  fileprivate mutating func reason(isRequired: Bool) -> String? {
    text("reason", isRequired: isRequired, length: 1...Bounds.textLength.upperBound)
  }

  fileprivate mutating func country() -> String? {
    text("country", isRequired: false, length: Bounds.countryLength)
  }

  /// Reads a time within `Bounds.times`. One time in the year 9999 would be first in every list for ever.
  fileprivate mutating func time(_ name: String, now: Timestamp) -> Timestamp? {
    let time = text(name, isRequired: false) { text in
      guard let time = Timestamp(text) else { return "must be a time as in RFC 3339, such as 2026-11-21T09:30:00Z" }
      return Bounds.times(now: now).contains(time) ? nil : "must be from 1970 on, and at most a day ahead of now"
    }
    return time.flatMap { Timestamp($0) }
  }

  fileprivate mutating func requireOne(of names: [String]) {
    guard !names.contains(where: has), errors.isEmpty else { return }
    adopt([Rejection.FieldError(pointer: "", detail: "must have one of \(names.joined(separator: ", ")) at least")])
  }

  fileprivate mutating func lines<Line>(
    isPriceRequired: Bool, _ make: (SKU, Int64, Int64?) -> Line
  ) -> [Line] {
    var lines: [Line] = []
    for (index, element) in (array("lines", count: Bounds.lines) ?? []).enumerated() {
      var line = FieldReader(element, at: "/lines/\(index)")
      let sku = line.sku()
      let quantity = line.integer("quantity", in: Bounds.quantity)
      let unitPrice = line.integer("unitPrice", isRequired: isPriceRequired, in: Bounds.unitPrice)
      adopt(line.finish())
      if let sku, let quantity { lines.append(make(sku, quantity, unitPrice)) }
    }
    return lines
  }
}
