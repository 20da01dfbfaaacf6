internal import Commerce
public import EventSourcing
internal import Postgres
public import Projections

/// One row an order.
public struct OrdersProjection: Projection {
  public let name = "orders"
  public let version = 1
  public let categories: Set = [Order.category]

  public let table = DocumentTable<OrderDocument>(
    "read_models.orders",
    columns: [
      .init("customer_id", "text") { $0.customerID },
      .init("placed_at", "timestamptz") { document in
        PostgresTimestamp(microsecondsSince1970: Timestamp(document.placedAt)?.microsecondsSince1970 ?? 0)
      },
    ],
    encode: { $0.json }, decode: { try OrderDocument(parsing: $0) })

  public init() {}

  public func apply(_ event: RecordedEvent, to document: inout OrderDocument?) throws {
    switch try OrderEvent(event) {
    case .placed(let placed): document = OrderDocument(placed, version: event.version)
    case .cancelled:
      guard document != nil else { throw ReadModelError(description: "\(event.stream) is cancelled and has no row") }
      document?.status = "cancelled"
      document?.version = event.version.rawValue
    }
  }
}
