internal import EventSourcing
internal import JSON
public import Postgres
internal import PostgresEventStore
public import Projections

/// Queries on the customers' read table. They return JSON that is ready to send.
public struct CustomerQueries: Sendable {
  private let pool: PostgresPool
  private let showsPersonalData: Bool

  /// - Parameter showsPersonalData: if false, name and e-mail address are null in every row.
  public init(_ pool: PostgresPool, showsPersonalData: Bool = true) {
    (self.pool, self.showsPersonalData) = (pool, showsPersonalData)
  }

  /// Returns the customer, or nil if there is none.
  public func customer(_ id: String) async throws -> ReadRow? {
    var conditions = Conditions()
    conditions.add("key = \(conditions.bind(id))")
    return try await rows(conditions, order: "key", limit: 1).first.map {
      ReadRow(document: $0.json, version: $0.version)
    }
  }

  /// The last customer of a page: how well it matches the search text, and its id.
  public struct Cursor: Sendable, Hashable {
    public let rank: Int64
    public let customerID: String

    public init(rank: Int64, customerID: String) {
      self.rank = rank
      self.customerID = customerID
    }
  }

  /// Returns a page of customers: the best matches first, then by id.
  /// - Parameters:
  ///   - text: words of names.
  ///   - email: the whole address, in upper or lower case.
  ///   - limit: the maximum number of customers on the page.
  /// - Returns: the customers as JSON, their ids, and the cursor of the next page; nil on the last page.
  public func search(
    text: String?, email: String?, after cursor: Cursor?, limit: Int
  ) async throws -> (items: [[UInt8]], customers: [String], next: Cursor?) {
    var conditions = Conditions()
    var rank = "0::bigint"
    if let text {
      guard let found = SearchText.match(text, "search", &conditions) else { return ([], [], nil) }
      conditions.add(found.condition)
      rank = found.rank
    }
    if let email { conditions.add("email = \(conditions.bind(email.lowercased()))") }
    if let cursor {
      let (bound, id) = (conditions.bind(cursor.rank), conditions.bind(cursor.customerID))
      conditions.add("(\(rank) < \(bound) or (\(rank) = \(bound) and key > \(id)))")
    }
    let found = try await rows(conditions, rank: rank, order: "rank desc, key", limit: limit + 1)
    let next = found.count > limit ? found[limit - 1] : nil
    let page = found.prefix(limit)
    return (page.map(\.json), page.map(\.id), next.map { Cursor(rank: $0.rank, customerID: $0.id) })
  }

  private func rows(
    _ conditions: Conditions, rank: String = "0::bigint", order: String, limit: Int
  ) async throws -> [(json: [UInt8], id: String, rank: Int64, version: Int64)] {
    var conditions = conditions
    let count = conditions.bind(Int64(limit))
    let rows = try await pool.query(
      Query(
        """
        select c.document, c.key, c.rank, s.orders, s.gross, s.returned,
          (select min(placed_at) from read_models.orders o
            where o.customer_id = c.key and o.status <> 'cancelled'),
          (select max(placed_at) from read_models.orders o
            where o.customer_id = c.key and o.status <> 'cancelled'),
          c.version
        from (
          select document, key, version, \(rank) as rank from read_models.customers where \(conditions.sql)
          order by \(order) limit \(count)) c
        cross join lateral (
          select coalesce(sum(orders), 0)::bigint as orders, coalesce(sum(gross), 0)::bigint as gross,
            coalesce(sum(returned), 0)::bigint as returned
          from read_models.sales_customers where customer_id = c.key) s
        order by \(order)
        """, conditions.binds)
    ).decode((PostgresBytes, String, Int64, Int64, Int64, Int64, PostgresTimestamp?, PostgresTimestamp?, Int64).self)
    return try rows.map { row in
      let orders = try JSONWriter.bytes(
        encoding: Figures(
          orders: row.3, spent: row.4, returned: row.5, firstOrderAt: row.6.map { Timestamp($0) },
          lastOrderAt: row.7.map { Timestamp($0) }),
        absentAsNull: true)
      // Merges the two JSON objects.
      let document = showsPersonalData ? row.0.bytes : try Self.masked(row.0.bytes)
      return (document.dropLast() + [UInt8(ascii: ",")] + orders.dropFirst(), row.1, row.2, row.8)
    }
  }

  /// A customer's row with null in place of name and e-mail address, like that of a customer who has given neither.
  private static func masked(_ document: [UInt8]) throws -> [UInt8] {
    guard case .object(let members) = try JSON(parsing: document) else { return Array("{}".utf8) }
    return JSON.object(
      members.map { ["name", "email"].contains($0.name) ? JSON.Member($0.name, .null) : $0 }
    ).encoded
  }

  /// What queries add to a customer's row.
  private struct Figures: Encodable {
    let orders, spent, returned: Int64, firstOrderAt, lastOrderAt: Timestamp?
  }
}
