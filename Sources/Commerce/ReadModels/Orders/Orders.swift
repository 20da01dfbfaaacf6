internal import Commerce
internal import EventSourcing
public import JSON
public import Projections

/// The read model of orders: one row per order.
public struct Orders: ReadModel {
  public let name = "orders"
  public let version = 1

  public let columns = [
    Column<OrderRow>("customer_id", \.customerId), Column("placed_at", \.placedAt), Column("status", \.status),
    Column("country", \.country), Column.tags("skus") { $0.lines.map(\.sku) },
  ]

  public let indexes = [
    Index("placed_at desc", "key desc"), Index("status", "placed_at desc", "key desc"),
    Index("customer_id", "placed_at desc", "key desc", where: "customer_id is not null"),
    Index("country", "placed_at desc", "key desc", where: "country is not null"),
  ]

  public let sources = [
    RowSource<OrderRow>(Order.self) { event, row in
      if case .placed(let placed) = event.event {
        row = OrderRow(placed, version: event.version)
        return
      }
      guard var order = row else { throw MissingRow() }
      switch event.event {
      case .placed: break
      case .paid(let paid):
        order.enter("paid", at: event.recordedAt)
        order.paymentReference = paid.reference
      case .shipped(let shipped):
        order.enter("shipped", at: event.recordedAt)
        (order.carrier, order.trackingCode) = (shipped.carrier, shipped.trackingCode)
      case .delivered: order.enter("delivered", at: event.recordedAt)
      case .cancelled(let cancelled):
        order.enter("cancelled", at: event.recordedAt)
        order.cancellationReason = cancelled.reason
      case .itemsReturned(let returned):
        for item in returned.items {
          guard order.lines.indices.contains(item.line) else { throw MissingRow("line \(item.line)") }
          order.lines[item.line].returned += item.quantity
        }
        order.returnedTotal += returned.total
      }
      order.version = event.version.rawValue
      row = order
    }
  ]

  public init() {}

  /// Written by hand for speed, because each order is encoded several times (decision 22).
  public static func encode(_ row: OrderRow, into json: inout JSONWriter) {
    json.object { json in
      json.member("orderId", row.orderId)
      json.member("customerId", orNull: row.customerId)
      json.member("country", orNull: row.country)
      json.member("status", row.status)
      json.member("lines") { json in
        json.array(row.lines) { json, line in
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
      json.member("total", row.total)
      json.member("returnedTotal", row.returnedTotal)
      json.member("currency", row.currency)
      json.member("placedAt", row.placedAt.description)
      json.member("paymentReference", orNull: row.paymentReference)
      json.member("carrier", orNull: row.carrier)
      json.member("trackingCode", orNull: row.trackingCode)
      json.member("cancellationReason", orNull: row.cancellationReason)
      json.member("timeline") { json in
        json.array(row.timeline) { json, moment in
          json.object { json in
            json.member("status", moment.status)
            json.member("at", moment.at.description)
          }
        }
      }
      json.member("version", row.version)
    }
  }
}
