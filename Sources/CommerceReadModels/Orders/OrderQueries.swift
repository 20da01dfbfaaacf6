public import EventSourcing
public import Postgres

/// Queries on the orders' read table. Answers are JSON as it is sent.
public struct OrderQueries: Sendable {
  private let pool: PostgresPool

  public init(_ pool: PostgresPool) { self.pool = pool }

  /// One order; nil where there is none.
  public func order(_ id: String) async throws -> [UInt8]? {
    try await pool.query("select document from read_models.orders where key = \(id)")
      .first?.column(0, as: PostgresBytes.self).bytes
  }

  /// A place in a customer's list: the order after which the next page begins.
  public struct Cursor: Sendable, Hashable {
    public let placedAt: Timestamp
    public let orderID: String

    public init(placedAt: Timestamp, orderID: String) {
      self.placedAt = placedAt
      self.orderID = orderID
    }
  }

  public struct Page: Sendable {
    public let items: [[UInt8]]
    /// nil on the last page.
    public let next: Cursor?
  }

  /// A customer's orders, newest first.
  /// - Parameter limit: orders on the page.
  public func orders(ofCustomer id: String, after cursor: Cursor?, limit: Int) async throws -> Page {
    let placedAt = PostgresTimestamp(
      microsecondsSince1970: cursor?.placedAt.microsecondsSince1970 ?? Timestamp.range.upperBound.microsecondsSince1970)
    // Without a cursor the first page begins after the greatest key that there can be.
    let orderID = cursor?.orderID ?? "\u{10FFFF}"
    let rows = try await pool.query(
      """
      select document, placed_at, key from read_models.orders
      where customer_id = \(id) and (placed_at, key) < (\(placedAt), \(orderID))
      order by placed_at desc, key desc limit \(limit + 1)
      """
    ).decode((PostgresBytes, PostgresTimestamp, String).self)
    let next = rows.count > limit ? rows[limit - 1] : nil
    return Page(
      items: rows.prefix(limit).map(\.0.bytes),
      next: next.map {
        Cursor(placedAt: Timestamp(microsecondsSince1970: $0.1.microsecondsSince1970), orderID: $0.2)
      })
  }
}
