internal import Commerce
public import EventSourcing
internal import Postgres
public import Projections

/// One row an order.
public struct OrdersProjection: Projection {
  public let name = "orders"
  public let version = 3
  public let categories: Set = [Order.category]

  public let table = DocumentTable<OrderDocument>(
    "read_models.orders",
    columns: [
      .init("customer_id", "text") { $0.customerID },
      .init("placed_at", "timestamptz") { document in
        PostgresTimestamp(microsecondsSince1970: Timestamp(document.placedAt)?.microsecondsSince1970 ?? 0)
      },
      .init("status", "text") { $0.status },
      .init("country", "text") { $0.country },
      // No sku has a bar in it.
      .init("skus", "text") { Set($0.lines.map(\.sku)).sorted().joined(separator: "|") },
    ],
    encode: { $0.json }, decode: { try OrderDocument(parsing: $0) })

  public init() {}

  public func apply(_ event: RecordedEvent, to document: inout OrderDocument?) throws {
    let change = try OrderEvent(event)
    if case .placed(let placed) = change {
      document = OrderDocument(placed, version: event.version)
      return
    }
    guard var order = document else { throw ReadModelError(description: "\(event.stream) has no row") }
    switch change {
    case .placed: break
    case .paid(let paid): order.enter("paid", event) { $0.paymentReference = paid.reference }
    case .shipped(let shipped):
      order.enter("shipped", event) { ($0.carrier, $0.trackingCode) = (shipped.carrier, shipped.trackingCode) }
    case .delivered: order.enter("delivered", event) { _ in }
    case .cancelled(let cancelled): order.enter("cancelled", event) { $0.cancellationReason = cancelled.reason }
    case .itemsReturned(let returned):
      for item in returned.items {
        guard order.lines.indices.contains(item.line) else {
          throw ReadModelError(description: "\(event.stream) has no line \(item.line)")
        }
        order.lines[item.line].returned += item.quantity
      }
      order.returnedTotal += returned.total
    }
    order.version = event.version.rawValue
    document = order
  }
}

extension OrderDocument {
  fileprivate mutating func enter(_ status: String, _ event: RecordedEvent, _ change: (inout OrderDocument) -> Void) {
    self.status = status
    timeline.append(Moment(status: status, at: event.recordedAt.description))
    change(&self)
  }
}
