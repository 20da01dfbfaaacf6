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

  /// What is asked for; nil asks for nothing in particular.
  public struct Filter: Sendable, Hashable {
    public var customerID: String?
    public var status: String?
    public var country: String?
    /// Placed then or later.
    public var from: Timestamp?
    /// Placed before.
    public var to: Timestamp?
    /// Words of products' or the customer's name, skus, or the beginning of the order's id.
    public var text: String?
    public var isOldestFirst = false

    public init() {}
  }

  /// A place in a list: the order after which the next page begins.
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

  /// Products, and customers, that a text may mean, at most.
  private static let meaningLimit = 200

  /// Orders by the time at which they were placed.
  /// - Parameter limit: orders on the page.
  public func search(_ filter: Filter, after cursor: Cursor?, limit: Int) async throws -> Page {
    var conditions = Conditions()
    if let id = filter.customerID { conditions.add("customer_id = \(conditions.bind(id))") }
    if let status = filter.status { conditions.add("status = \(conditions.bind(status))") }
    if let country = filter.country { conditions.add("country = \(conditions.bind(country))") }
    if let from = filter.from { conditions.add("placed_at >= \(conditions.bind(time(from)))") }
    if let to = filter.to { conditions.add("placed_at < \(conditions.bind(time(to)))") }
    if let text = filter.text {
      let skus = conditions.bind(PostgresArray(try await keys(text, of: "read_models.catalogue")))
      let customers = conditions.bind(PostgresArray(try await keys(text, of: "read_models.customers")))
      let id = conditions.bind(
        text.replacing("\\", with: "\\\\").replacing("%", with: "\\%").replacing("_", with: "\\_") + "%")
      conditions.add("(string_to_array(skus, '|') && \(skus) or customer_id = any(\(customers)) or key like \(id))")
    }
    if let cursor {
      let place = "(\(conditions.bind(time(cursor.placedAt))), \(conditions.bind(cursor.orderID)))"
      conditions.add("(placed_at, key) \(filter.isOldestFirst ? ">" : "<") \(place)")
    }
    let order = filter.isOldestFirst ? "placed_at, key" : "placed_at desc, key desc"
    let count = conditions.bind(Int64(limit + 1))
    let rows = try await pool.query(
      Query(
        """
        select document, placed_at, key from read_models.orders where \(conditions.sql)
        order by \(order) limit \(count)
        """, conditions.binds)
    ).decode((PostgresBytes, PostgresTimestamp, String).self)
    let next = rows.count > limit ? rows[limit - 1] : nil
    return Page(
      items: rows.prefix(limit).map(\.0.bytes),
      next: next.map {
        Cursor(placedAt: Timestamp(microsecondsSince1970: $0.1.microsecondsSince1970), orderID: $0.2)
      })
  }

  /// The products, or customers, that a text means, best first.
  private func keys(_ text: String, of table: String) async throws -> [String] {
    var conditions = Conditions()
    guard let rank = SearchText.match(text, "search", &conditions) else { return [] }
    return try await pool.query(
      Query(
        "select key from \(table) where \(conditions.sql) order by \(rank) desc, key limit \(Self.meaningLimit)",
        conditions.binds)
    ).decode(String.self)
  }

  private func time(_ time: Timestamp) -> PostgresTimestamp {
    PostgresTimestamp(microsecondsSince1970: time.microsecondsSince1970)
  }
}
