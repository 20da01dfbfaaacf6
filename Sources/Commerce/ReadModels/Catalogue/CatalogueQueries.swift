internal import JSON
public import Postgres
public import Projections

/// Queries on the catalogue's read table. Answers are JSON as it is sent.
public struct CatalogueQueries: Sendable {
  private let pool: PostgresPool

  public init(_ pool: PostgresPool) { self.pool = pool }

  /// One product by its normal sku; nil where there is none.
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
    /// The best matches of a text first.
    case relevance
  }

  /// What is asked for; nil asks for nothing in particular.
  public struct Filter: Sendable, Hashable {
    /// Words of names and skus, and behind these of descriptions.
    public var text: String?
    public var isOnSale: Bool?
    public var isInStock: Bool?
    /// Minor units.
    public var minimumPrice: Int64?
    public var maximumPrice: Int64?
    public var order = Order.sku

    public init() {}
  }

  /// The product after which the next page begins: what it is sorted by, as text, and its sku.
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

  /// - Parameter limit: products on the page.
  /// - Returns: nil for a cursor that does not belong to this order.
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
      // The first comparison is one that an index begins with.
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

  /// The document with one member more.
  private static func json(_ document: [UInt8], unitsSold: Int64) -> [UInt8] {
    document.dropLast() + Array(",\"unitsSold\":\(unitsSold)}".utf8)
  }
}
