internal import JSON
public import Postgres
internal import Projections

/// Queries on the figures of sales. Days are UTC, texts such as 2026-11-21; amounts are minor units. Gross, orders and units are
/// of orders that were not cancelled; net is gross less returned.
public struct SalesQueries: Sendable {
  private let pool: PostgresPool

  public init(_ pool: PostgresPool) { self.pool = pool }

  public enum Interval: String, Sendable, CaseIterable { case day, week, month, year }
  public enum Measure: String, Sendable, CaseIterable { case net, gross, units }

  /// Nil asks for nothing in particular.
  public struct Filter: Sendable, Hashable {
    /// The first day.
    public var from: String?
    /// The day after the last.
    public var to: String?
    public var country: String?

    public init() {}

    /// Whether it begins and ends with months.
    fileprivate var isOfWholeMonths: Bool { [from, to].allSatisfy { $0?.hasSuffix("-01") ?? true } }
  }

  /// The smallest table that has these sums, and its column of days.
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

  /// Periods in which something was sold or came back, in order; weeks begin on Mondays.
  /// - Parameter limit: periods.
  /// - Returns: the periods as JSON, and the first day of the one after which more follow.
  public func periods(
    _ interval: Interval, _ filter: Filter, after day: String?, limit: Int
  ) async throws -> (items: [[UInt8]], next: String?) {
    let (table, column) = sums(filter, interval)
    let period = "date_trunc('\(interval.rawValue)', \(column))"
    var conditions = conditions(filter, on: column)
    // Nothing of an earlier period is looked at.
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
    let items = rows.prefix(limit).map { row in
      var json = JSONWriter()
      json.object { json in
        json.member("from", row.0)
        json.member("orders", row.1)
        json.member("units", row.2)
        json.member("gross", row.3)
        json.member("cancelled", row.4)
        json.member("returned", row.5)
        json.member("net", row.3 - row.5)
      }
      return json.bytes
    }
    return (items, rows.count > limit ? rows[limit - 1].0 : nil)
  }

  /// The best sellers.
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
    return rows.map { row in
      var json = JSONWriter()
      json.object { json in
        json.member("sku", row.0)
        json.member("name", row.1)
        json.member("units", row.2)
        json.member("gross", row.3)
        json.member("returned", row.4)
        json.member("net", row.3 - row.4)
      }
      return json.bytes
    }
  }

  /// All countries, the largest net first; null stands for none.
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
    return rows.map { row in
      Self.figures(orders: row.1, gross: row.2, returned: row.3) { json in
        json.member("country", orNull: row.0.isEmpty ? nil : row.0)
      }
    }
  }

  /// The customers with the largest sums over all time.
  public func customers(by measure: Measure, limit: Int) async throws -> [[UInt8]] {
    let order = measure == .gross ? "sum(gross)" : "sum(gross - returned)"
    // The whole table is read as it lies: `offset 0` keeps the planner from following an index, a block for each row.
    let rows = try await pool.query(
      """
      select customer_id, sum(orders)::bigint, sum(gross)::bigint, sum(returned)::bigint
      from (select * from read_models.sales_customers offset 0) s group by customer_id
      order by \(unescaped: order) desc, customer_id limit \(limit)
      """
    ).decode((String, Int64, Int64, Int64).self)
    return rows.map { row in
      Self.figures(orders: row.1, gross: row.2, returned: row.3) { $0.member("customerId", row.0) }
    }
  }

  private static func figures(
    orders: Int64, gross: Int64, returned: Int64, _ name: (inout JSONWriter) -> Void
  ) -> [UInt8] {
    var json = JSONWriter()
    json.object { json in
      name(&json)
      json.member("orders", orders)
      json.member("gross", gross)
      json.member("returned", returned)
      json.member("net", gross - returned)
    }
    return json.bytes
  }
}
