internal import JSON
public import Postgres
public import Projections

/// Queries on the catalogue's read table. They return JSON that is ready to send.
public struct CatalogueQueries: Sendable {
  private let pool: PostgresPool

  public init(_ pool: PostgresPool) { self.pool = pool }

  /// Returns the product with this normalised SKU, or nil if there is none.
  public func product(_ sku: String) async throws -> ReadRow? {
    try await pool.query(
      """
      select document, version, (select coalesce(sum(units), 0)::bigint from read_models.sales_totals where sku = \(sku))
      from read_models.catalogue where key = \(sku)
      """
    ).decode((PostgresBytes, Int64, Int64).self).first.map {
      ReadRow(document: Self.json($0.0.bytes, unitsSold: $0.2), version: $0.1)
    }
  }

  public enum Order: String, Sendable, CaseIterable {
    case sku, name, unitPrice
    case unitPriceDescending = "-unitPrice"
    /// The best matches of the text first.
    case relevance
  }

  /// The filters of a search. A filter that is nil is off.
  public struct Filter: Sendable, Hashable {
    /// Words of names and SKUs. Products with matches only in their descriptions rank lower.
    public var text: String?
    public var isOnSale: Bool?
    public var isInStock: Bool?
    /// Minor units. Both limits are inclusive.
    public var minimumPrice: Int64?
    public var maximumPrice: Int64?
    public var order = Order.sku

    public init() {}
  }

  /// The last product of a page: its sort value as text, and its SKU.
  public struct Cursor: Sendable, Hashable {
    public let value: String
    public let sku: String

    public init(value: String, sku: String) {
      self.value = value
      self.sku = sku
    }
  }

  public struct Page: Sendable {
    public let items: [[UInt8]]
    /// nil on the last page.
    public let next: Cursor?
  }

  /// Returns a page of products.
  /// - Parameter limit: the maximum number of products on the page.
  /// - Returns: nil if the cursor does not fit the filter's order.
  public func search(_ filter: Filter, after cursor: Cursor?, limit: Int) async throws -> Page? {
    var conditions = Conditions()
    var rank = "0::bigint"
    if let text = filter.text {
      guard let found = SearchText.match(text, "search", orIn: "details", &conditions) else {
        return Page(items: [], next: nil)
      }
      conditions.add(found.condition)
      rank = found.rank
    }
    if let isOnSale = filter.isOnSale { conditions.add("is_on_sale = \(conditions.bind(isOnSale))") }
    if let isInStock = filter.isInStock { conditions.add("is_in_stock = \(conditions.bind(isInStock))") }
    if let price = filter.minimumPrice { conditions.add("unit_price >= \(conditions.bind(price))") }
    if let price = filter.maximumPrice { conditions.add("unit_price <= \(conditions.bind(price))") }
    let (value, isDescending, isNumber) =
      switch filter.order {
      case .sku: ("''::text", false, false)
      case .name: ("name", false, false)
      case .unitPrice: ("unit_price", false, true)
      case .unitPriceDescending: ("unit_price", true, true)
      case .relevance: (rank, true, true)
      }
    if let cursor {
      let bound: String
      if isNumber {
        guard let number = Int64(cursor.value) else { return nil }
        bound = conditions.bind(number)
      } else {
        bound = conditions.bind(cursor.value)
      }
      let sku = conditions.bind(cursor.sku)
      let sign = isDescending ? "<" : ">"
      // The first comparison is redundant, but lets PostgreSQL start an index scan there.
      conditions.add("(\(value) \(sign)= \(bound) and (\(value) \(sign) \(bound) or key > \(sku)))")
    }
    let count = conditions.bind(Int64(limit + 1))
    let rows = try await pool.query(
      Query(
        """
        select c.document, c.value, c.key,
          (select coalesce(sum(units), 0)::bigint from read_models.sales_totals t where t.sku = c.key)
        from (
          select document, (\(value))::text as value, key, row_number() over (order by \(value)\(isDescending ? " desc" : ""), key) as place
          from read_models.catalogue where \(conditions.sql)
          order by \(value)\(isDescending ? " desc" : ""), key limit \(count)) c
        order by c.place
        """, conditions.binds)
    ).decode((PostgresBytes, String, String, Int64).self)
    let next = rows.count > limit ? rows[limit - 1] : nil
    return Page(
      items: rows.prefix(limit).map { Self.json($0.0.bytes, unitsSold: $0.3) },
      next: next.map { Cursor(value: $0.1, sku: $0.2) })
  }

  /// Adds `unitsSold` to the document.
  private static func json(_ document: [UInt8], unitsSold: Int64) -> [UInt8] {
    document.dropLast() + Array(",\"unitsSold\":\(unitsSold)}".utf8)
  }
}
