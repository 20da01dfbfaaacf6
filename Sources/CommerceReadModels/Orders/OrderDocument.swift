internal import Commerce
internal import EventSourcing
internal import JSON

/// An order as queries answer it.
public struct OrderDocument: Sendable, Hashable {
  public struct Line: Sendable, Hashable {
    public let sku: String
    public let name: String
    public let quantity: Int64
    public let unitPrice: Int64
    public let lineTotal: Int64
  }

  public let orderID: String
  public let customerID: String?
  public var status: String
  public let lines: [Line]
  public let total: Int64
  public let currency: String
  public let placedAt: String
  public var version: Int64

  public var json: [UInt8] {
    var json = JSONWriter(reserving: 384)
    json.object { json in
      json.member("orderId", orderID)
      json.member("customerId") { if let customerID { $0.write(customerID) } else { $0.writeNull() } }
      json.member("status", status)
      json.member("lines") { json in
        json.array(lines) { json, line in
          json.object { json in
            json.member("sku", line.sku)
            json.member("name", line.name)
            json.member("quantity", line.quantity)
            json.member("unitPrice", line.unitPrice)
            json.member("lineTotal", line.lineTotal)
          }
        }
      }
      json.member("total", total)
      json.member("currency", currency)
      json.member("placedAt", placedAt)
      json.member("version", version)
    }
    return json.bytes
  }
}

extension OrderDocument {
  init(_ event: OrderPlaced, version: Version) {
    self.init(
      orderID: event.orderID, customerID: event.customerID, status: "placed",
      lines: event.lines.map {
        Line(
          sku: $0.sku.rawValue, name: $0.name, quantity: $0.quantity, unitPrice: $0.unitPrice, lineTotal: $0.total)
      },
      total: event.total, currency: event.currency, placedAt: event.placedAt.description, version: version.rawValue)
  }

  /// - Throws: `ReadModelError` when it is not what `json` writes.
  init(parsing bytes: [UInt8]) throws {
    let json = try JSON(parsing: bytes)
    guard let orderID = json["orderId"]?.string, let status = json["status"]?.string,
      let lines = json["lines"]?.array, let total = json["total"]?.integer, let currency = json["currency"]?.string,
      let placedAt = json["placedAt"]?.string, let version = json["version"]?.integer
    else { throw ReadModelError(description: "an order's document is not as this build writes it") }
    self.init(
      orderID: orderID, customerID: json["customerId"]?.string, status: status,
      lines: try lines.map { line in
        guard let sku = line["sku"]?.string, let name = line["name"]?.string,
          let quantity = line["quantity"]?.integer, let unitPrice = line["unitPrice"]?.integer,
          let lineTotal = line["lineTotal"]?.integer
        else { throw ReadModelError(description: "an order line's document is not as this build writes it") }
        return Line(sku: sku, name: name, quantity: quantity, unitPrice: unitPrice, lineTotal: lineTotal)
      },
      total: total, currency: currency, placedAt: placedAt, version: version)
  }
}
