internal import Commerce
public import EventSourcing

/// An order's row.
public struct OrderRow: Codable, Sendable, Hashable {
  public struct Line: Codable, Sendable, Hashable {
    public let sku: String
    public let name: String
    public let quantity: Int64
    public let unitPrice: Int64
    public let lineTotal: Int64
    /// The returned quantity.
    public var returned: Int64
  }

  /// A status of the order, and the time at which the order got it.
  public struct Moment: Codable, Sendable, Hashable {
    public let status: String
    public let at: Timestamp
  }

  public let orderId: String
  public let customerId: String?
  public let country: String?
  public var status: String
  public var lines: [Line]
  /// Minor units, like all amounts.
  public let total: Int64
  public var returnedTotal: Int64 = 0
  public let currency: String
  public let placedAt: Timestamp
  public var paymentReference: String?
  public var carrier: String?
  public var trackingCode: String?
  public var cancellationReason: String?
  public var timeline: [Moment]
  public var version: Int64
}

extension OrderRow {
  init(_ event: OrderPlaced, version: Version) {
    self.init(
      orderId: event.orderID, customerId: event.customerID, country: event.country, status: "placed",
      lines: event.lines.map {
        Line(
          sku: $0.sku.rawValue, name: $0.name, quantity: $0.quantity, unitPrice: $0.unitPrice, lineTotal: $0.total,
          returned: 0)
      },
      total: event.total, currency: event.currency, placedAt: event.placedAt,
      timeline: [Moment(status: "placed", at: event.placedAt)], version: version.rawValue)
  }

  mutating func enter(_ status: String, at time: Timestamp) {
    self.status = status
    timeline.append(Moment(status: status, at: time))
  }
}
