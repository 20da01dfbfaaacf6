internal import JSON
public import Postgres
internal import Projections

/// Queries on the sales figures. Days are UTC, as text such as 2026-11-21. Amounts are in minor units. `gross`,
/// `orders` and `units` leave out cancelled orders. `net` is gross less returned.
public struct SalesQueries: Sendable {
  private let pool: PostgresPool

  public init(_ pool: PostgresPool) { self.pool = pool }

  public enum Interval: String, Sendable, CaseIterable { case day, week, month, year }
  public enum Measure: String, Sendable, CaseIterable { case net, gross, units }

  /// The filters of a query. A filter that is nil is off.
  public struct Filter: Sendable, Hashable {
    /// The first day.
    public var from: String?
    /// The day after the last day.
    public var to: String?
    public var country: String?

    public init() {}

    /// Whether each limit is nil or the first day of a month.
    fileprivate var isOfWholeMonths: Bool { [from, to].allSatisfy { $0?.hasSuffix("-01") ?? true } }
  }

  /// Returns the smallest table with these sums, and its date column.
  private func sums(_ filter: Filter, _ interval: Interval = .year) -> (table: String, day: String) {
    filter.isOfWholeMonths && [.month, .year].contains(interval)
      ? ("read_models.sales_months", "month") : ("read_models.sales_days", "day")
  }

  private func conditions(_ filter: Filter, on day: String = "day") -> Conditions {
    var conditions = Conditions()
    if let from = filter.from { conditions.add("\(day) >= \(conditions.bind(from))::date") }
    if let to = filter.to { conditions.add("\(day) < \(conditions.bind(to))::date") }
    if let country = filter.country { conditions.add("country = \(conditions.bind(country))") }
    return conditions
  }

  /// Returns the periods with sales or returns, in order. Weeks begin on Monday.
  /// - Parameter limit: the maximum number of periods.
  /// - Returns: the periods as JSON; if more follow, also the first day of the last one returned.
  public func periods(
    _ interval: Interval, _ filter: Filter, after day: String?, limit: Int
  ) async throws -> (items: [[UInt8]], next: String?) {
    let (table, column) = sums(filter, interval)
    let period = "date_trunc('\(interval.rawValue)', \(column))"
    var conditions = conditions(filter, on: column)
    // Skips all rows of earlier periods.
    if let day { conditions.add("\(column) >= (\(conditions.bind(day))::date + interval '1 \(interval.rawValue)')") }
    let count = conditions.bind(Int64(limit + 1))
    let rows = try await pool.query(
      Query(
        """
        select (\(period)::date)::text, sum(orders)::bigint, sum(units)::bigint, sum(gross)::bigint,
          sum(cancelled)::bigint, sum(returned)::bigint
        from \(table) where \(conditions.sql) group by \(period) order by \(period) limit \(count)
        """, conditions.binds)
    ).decode((String, Int64, Int64, Int64, Int64, Int64).self)
    let items = try rows.prefix(limit).map { row in
      try JSONWriter.bytes(
        encoding: Period(
          from: row.0, orders: row.1, units: row.2, gross: row.3, cancelled: row.4, returned: row.5, net: row.3 - row.5)
      )
    }
    return (items, rows.count > limit ? rows[limit - 1].0 : nil)
  }

  /// Returns the best-selling products.
  public func products(_ filter: Filter, by measure: Measure, limit: Int) async throws -> [[UInt8]] {
    var conditions = conditions(filter)
    let count = conditions.bind(Int64(limit))
    let rows = try await pool.query(
      Query(
        """
        select s.sku, coalesce(c.name, s.sku), s.units, s.gross, s.returned
        from (
          select sku, sum(units)::bigint as units, sum(gross)::bigint as gross, sum(returned)::bigint as returned,
            sum(gross - returned)::bigint as net
          from read_models.sales_products where \(conditions.sql)
          group by sku order by \(measure.rawValue) desc, sku limit \(count)) s
        left join read_models.catalogue c on c.key = s.sku
        order by s.\(measure.rawValue) desc, s.sku
        """, conditions.binds)
    ).decode((String, String, Int64, Int64, Int64).self)
    return try rows.map { row in
      try JSONWriter.bytes(
        encoding: ProductSales(
          sku: row.0, name: row.1, units: row.2, gross: row.3, returned: row.4, net: row.3 - row.4))
    }
  }

  /// Returns all countries, the largest net first. Sales without a country have `null`.
  public func countries(_ filter: Filter) async throws -> [[UInt8]] {
    let (table, column) = sums(filter)
    let conditions = conditions(filter, on: column)
    let rows = try await pool.query(
      Query(
        """
        select country, sum(orders)::bigint, sum(gross)::bigint, sum(returned)::bigint
        from \(table) where \(conditions.sql)
        group by country order by sum(gross - returned) desc, country
        """, conditions.binds)
    ).decode((String, Int64, Int64, Int64).self)
    return try rows.map { row in
      try JSONWriter.bytes(
        encoding: CountrySales(
          country: row.0.isEmpty ? nil : row.0, orders: row.1, gross: row.2, returned: row.3, net: row.2 - row.3),
        absentAsNull: true)
    }
  }

  /// Returns the customers with the largest sums over all time.
  public func customers(by measure: Measure, limit: Int) async throws -> [[UInt8]] {
    let order = measure == .gross ? "sum(gross)" : "sum(gross - returned)"
    // `offset 0` forces a sequential scan. An index scan would read a block for each row.
    let rows = try await pool.query(
      """
      select customer_id, sum(orders)::bigint, sum(gross)::bigint, sum(returned)::bigint
      from (select * from read_models.sales_customers offset 0) s group by customer_id
      order by \(unescaped: order) desc, customer_id limit \(limit)
      """
    ).decode((String, Int64, Int64, Int64).self)
    return try rows.map { row in
      try JSONWriter.bytes(
        encoding: CustomerSales(
          customerId: row.0, orders: row.1, gross: row.2, returned: row.3, net: row.2 - row.3))
    }
  }
}

// The elements of the answers, with their members in this order.
private struct Period: Encodable { let from: String, orders, units, gross, cancelled, returned, net: Int64 }
private struct ProductSales: Encodable { let sku, name: String, units, gross, returned, net: Int64 }
private struct CountrySales: Encodable { let country: String?, orders, gross, returned, net: Int64 }
private struct CustomerSales: Encodable { let customerId: String, orders, gross, returned, net: Int64 }
