public import EventSourcing
public import Postgres
internal import PostgresEventStore
internal import Projections

/// Queries on the orders' read table. They return JSON that is ready to send.
public struct OrderQueries: Sendable {
  private let pool: PostgresPool

  public init(_ pool: PostgresPool) { self.pool = pool }

  /// Returns the newest orders of several customers in one query.
  /// - Parameter wanted: customers, each with the maximum number of orders.
  /// - Returns: for each customer, the orders as elements of a JSON array, and the cursor of the next page.
  public func newest(of wanted: [(customerID: String, limit: Int)]) async throws -> [(joined: [UInt8], next: Cursor?)] {
    let rows = try await pool.query(
      """
      select w.place, coalesce(o.joined, ''), o.placed_at, o.key
      from unnest(\(array: wanted.map(\.customerID)), \(array: wanted.map { Int64($0.limit) }))
        with ordinality as w(customer_id, count, place)
      cross join lateral (
        select string_agg(n.document::text, ',' order by n.place) filter (where n.place <= w.count) as joined,
          max(n.placed_at) filter (where n.place = w.count and n.more) as placed_at,
          max(n.key) filter (where n.place = w.count and n.more) as key
        from (
          select i.document, i.placed_at, i.key, row_number() over () as place, count(*) over () > w.count as more
          from (
            select document, placed_at, key from read_models.orders
            where customer_id = w.customer_id order by placed_at desc, key desc limit w.count + 1) i) n) o
      order by w.place
      """
    ).decode((Int64, PostgresBytes, PostgresTimestamp?, String?).self)
    return rows.map { row in
      let next = row.2.flatMap { time in
        row.3.map {
          Cursor(placedAt: Timestamp(time), orderID: $0)
        }
      }
      return (row.1.bytes, next)
    }
  }

  /// The filters of a search. A filter that is nil is off.
  public struct Filter: Sendable, Hashable {
    public var customerID: String?
    public var status: String?
    public var country: String?
    /// Placed at this time or later.
    public var from: Timestamp?
    /// Placed before this time.
    public var to: Timestamp?
    /// Words of a product's or the customer's name, SKUs, or the beginning of the order's id.
    public var text: String?
    /// Whether the text is looked for in the names of customers, too.
    public var searchesCustomers = true
    public var isOldestFirst = false

    public init() {}
  }

  /// The last order of a page.
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

  /// Returns a page of orders, sorted by the time at which they were placed.
  /// - Parameter limit: the maximum number of orders on the page.
  public func search(_ filter: Filter, after cursor: Cursor?, limit: Int) async throws -> Page {
    var conditions = Conditions()
    if let id = filter.customerID { conditions.add("customer_id = \(conditions.bind(id))") }
    if let status = filter.status { conditions.add("status = \(conditions.bind(status))") }
    if let country = filter.country { conditions.add("country = \(conditions.bind(country))") }
    if let from = filter.from { conditions.add("placed_at >= \(conditions.bind(PostgresTimestamp(from)))") }
    if let to = filter.to { conditions.add("placed_at < \(conditions.bind(PostgresTimestamp(to)))") }
    if let text = filter.text {
      let id = conditions.bind(
        text.replacing("\\", with: "\\\\").replacing("%", with: "\\%").replacing("_", with: "\\_") + "%")
      let either = ["key like \(id)"] + (try await names(text, filter.searchesCustomers, &conditions))
      conditions.add("(\(either.joined(separator: " or ")))")
    }
    if let cursor {
      let place = "(\(conditions.bind(PostgresTimestamp(cursor.placedAt))), \(conditions.bind(cursor.orderID)))"
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
        Cursor(placedAt: Timestamp($0.1), orderID: $0.2)
      })
  }

  /// The query gets the keys of at most this many products, or customers, as a list.
  private static let fewNames = 1_000

  /// Returns conditions on orders: a product's name matches the text, or the customer's.
  private func names(
    _ text: String, _ searchesCustomers: Bool, _ conditions: inout Conditions
  ) async throws -> [String] {
    var own = Conditions()
    guard let matches = SearchText.match(text, "search", &own) else { return [] }
    let few = own.bind(Int64(Self.fewNames + 1))
    let customersToo =
      searchesCustomers
      ? "union all (select false, key from read_models.customers where \(matches.condition) limit \(few))" : ""
    let found = try await pool.query(
      Query(
        """
        (select true, key from read_models.catalogue where \(matches.condition) limit \(few)) \(customersToo)
        """, own.binds)
    ).decode((Bool, String).self)
    // With a list of few keys, the planner knows how many orders to expect and looks them up. With a subquery for many
    // keys, it reads the newest orders until a page is full.
    func keys(_ areProducts: Bool, in table: String) -> String? {
      let keys = found.filter { $0.0 == areProducts }.map(\.1)
      guard !keys.isEmpty else { return nil }
      guard keys.count > Self.fewNames, let all = SearchText.match(text, "n.search", &conditions) else {
        return conditions.bind(PostgresArray(keys))
      }
      return "array(select n.key from read_models.\(table) n where \(all.condition))"
    }
    let skus = keys(true, in: "catalogue").map { "\(tagsExpression("skus")) && \($0)" }
    let customers = keys(false, in: "customers").map { "customer_id = any(\($0))" }
    return [skus, customers].compactMap { $0 }
  }
}
