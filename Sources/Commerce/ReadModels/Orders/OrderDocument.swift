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
    /// How many came back.
    public var returned: Int64
  }

  /// When the order came into a state.
  public struct Moment: Sendable, Hashable {
    public let status: String
    public let at: String
  }

  public let orderID: String
  public let customerID: String?
  public let country: String?
  public var status: String
  public var lines: [Line]
  /// Minor units, as are all amounts.
  public let total: Int64
  public var returnedTotal: Int64 = 0
  public let currency: String
  public let placedAt: String
  public var paymentReference: String?
  public var carrier: String?
  public var trackingCode: String?
  public var cancellationReason: String?
  public var timeline: [Moment]
  public var version: Int64

  public var json: [UInt8] {
    var json = JSONWriter(reserving: 512)
    json.object { json in
      json.member("orderId", orderID)
      json.member("customerId", orNull: customerID)
      json.member("country", orNull: country)
      json.member("status", status)
      json.member("lines") { json in
        json.array(lines) { json, line in
          json.object { json in
            json.member("sku", line.sku)
            json.member("name", line.name)
            json.member("quantity", line.quantity)
            json.member("unitPrice", line.unitPrice)
            json.member("lineTotal", line.lineTotal)
            json.member("returned", line.returned)
          }
        }
      }
      json.member("total", total)
      json.member("returnedTotal", returnedTotal)
      json.member("currency", currency)
      json.member("placedAt", placedAt)
      json.member("paymentReference", orNull: paymentReference)
      json.member("carrier", orNull: carrier)
      json.member("trackingCode", orNull: trackingCode)
      json.member("cancellationReason", orNull: cancellationReason)
      json.member("timeline") { json in
        json.array(timeline) { json, moment in
          json.object { json in
            json.member("status", moment.status)
            json.member("at", moment.at)
          }
        }
      }
      json.member("version", version)
    }
    return json.bytes
  }
}

extension OrderDocument {
  init(_ event: OrderPlaced, version: Version) {
    self.init(
      orderID: event.orderID, customerID: event.customerID, country: event.country, status: "placed",
      lines: event.lines.map {
        Line(
          sku: $0.sku.rawValue, name: $0.name, quantity: $0.quantity, unitPrice: $0.unitPrice, lineTotal: $0.total,
          returned: 0)
      },
      total: event.total, currency: event.currency, placedAt: event.placedAt.description,
      timeline: [Moment(status: "placed", at: event.placedAt.description)], version: version.rawValue)
  }

  /// - Throws: `ReadModelError` when it is not what `json` writes.
  init(parsing bytes: [UInt8]) throws {
    let json = try JSON(parsing: bytes)
    guard let orderID = json["orderId"]?.string, let status = json["status"]?.string,
      let lines = json["lines"]?.array, let total = json["total"]?.integer,
      let returnedTotal = json["returnedTotal"]?.integer, let currency = json["currency"]?.string,
      let placedAt = json["placedAt"]?.string, let timeline = json["timeline"]?.array,
      let version = json["version"]?.integer
    else { throw ReadModelError(description: "an order's document is not as this build writes it") }
    self.init(
      orderID: orderID, customerID: json["customerId"]?.string, country: json["country"]?.string, status: status,
      lines: try lines.map { line in
        guard let sku = line["sku"]?.string, let name = line["name"]?.string,
          let quantity = line["quantity"]?.integer, let unitPrice = line["unitPrice"]?.integer,
          let lineTotal = line["lineTotal"]?.integer, let returned = line["returned"]?.integer
        else { throw ReadModelError(description: "an order line's document is not as this build writes it") }
        return Line(
          sku: sku, name: name, quantity: quantity, unitPrice: unitPrice, lineTotal: lineTotal, returned: returned)
      },
      total: total, returnedTotal: returnedTotal, currency: currency, placedAt: placedAt,
      paymentReference: json["paymentReference"]?.string, carrier: json["carrier"]?.string,
      trackingCode: json["trackingCode"]?.string, cancellationReason: json["cancellationReason"]?.string,
      timeline: try timeline.map { moment in
        guard let status = moment["status"]?.string, let at = moment["at"]?.string else {
          throw ReadModelError(description: "an order's timeline is not as this build writes it")
        }
        return Moment(status: status, at: at)
      }, version: version)
  }
}
