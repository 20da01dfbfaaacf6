import EventSourcing
import QueryKit

@testable import CommerceReadModels

/// A query of a read model, and how many blocks it may touch in the tables of `FullTables`.
struct QueryCost: Sendable {
  let name: String
  let bound: Int64
  /// Whether it runs on the connections for reads by key, where one plan serves all parameters.
  let isByKey: Bool
  /// - Throws: `FoundNothing` if the query finds other rows than expected: a query that finds nothing is cheap.
  let run: @Sendable (AllQueries) async throws -> Void

  init(
    _ name: String, atMost bound: Int64, isByKey: Bool = false,
    _ run: @escaping @Sendable (AllQueries) async throws -> Void
  ) {
    (self.name, self.bound, self.isByKey, self.run) = (name, bound, isByKey, run)
  }

  struct FoundNothing: Error {
    let name: String
  }

  static let all = orders + orderTexts + customers + catalogue + others

  private static func orders(
    _ name: String, atMost bound: Int64, after order: Int? = nil, finds count: Int = 100,
    _ change: @escaping @Sendable (inout OrderQueries.Filter) -> Void
  ) -> QueryCost {
    QueryCost("orders " + name, atMost: bound) { queries in
      var filter = OrderQueries.Filter()
      change(&filter)
      let cursor = order.map { OrderQueries.Cursor(placedAt: FullTables.time(ofOrder: $0), orderID: "order-\($0)") }
      let page = try await queries.orders.search(filter, after: cursor, limit: 100)
      guard page.items.count == count else { throw FoundNothing(name: "\(name): \(page.items.count)") }
    }
  }

  private static let orders = [
    QueryCost("one order", atMost: 10, isByKey: true) {
      guard try await $0.rows.rows("orders", [ExactText("order-77")]).count == 1 else {
        throw FoundNothing(name: "order-77")
      }
    },
    QueryCost("256 orders", atMost: 1_500, isByKey: true) { queries in
      guard try await queries.rows.rows("orders", (1...256).map { ExactText("order-\($0 * 700)") }).count == 256 else {
        throw FoundNothing(name: "orders")
      }
    },
    QueryCost("newest orders of 32 customers", atMost: 400, isByKey: true) { queries in
      let found = try await queries.orders.newest(of: (1...32).map { ("customer-\($0 * 1000)", 20) })
      guard found.allSatisfy({ !$0.joined.isEmpty }) else { throw FoundNothing(name: "newest") }
    },
    orders("", atMost: 60) { _ in },
    orders("after the 100,000th", atMost: 60, after: 100_000) { _ in },
    orders("oldest first", atMost: 60) { $0.isOldestFirst = true },
    orders("oldest first, after the 100,000th", atMost: 60, after: 100_000) { $0.isOldestFirst = true },
    orders("of a customer", atMost: 30, finds: 4) { $0.customerID = "customer-7" },
    orders("of a customer in a state", atMost: 30, finds: 0) { ($0.customerID, $0.status) = ("customer-7", "paid") },
    orders("in a rare state", atMost: 200) { $0.status = "paid" },
    orders("in a rare state, later", atMost: 200, after: 110_000) { $0.status = "paid" },
    orders("in a common state, later", atMost: 60, after: 100_000) { $0.status = "delivered" },
    orders("in a state that none is in", atMost: 30, finds: 0) { $0.status = "cancelled" },
    orders("of a country", atMost: 200) { $0.country = "Country 5" },
    orders("of a country, later", atMost: 200, after: 100_000) { $0.country = "Country 5" },
    orders("of a rare country", atMost: 60, finds: 20) { $0.country = "Country 99" },
    orders("of a rare country, later", atMost: 60, after: 100_000, finds: 10) { $0.country = "Country 99" },
    orders("of no country", atMost: 30, finds: 0) { $0.country = "Country 100" },
    orders("of a country in a rare state", atMost: 400, finds: 12) {
      ($0.country, $0.status) = ("Country 5", "paid")
    },
    orders("of two days", atMost: 60) {
      ($0.from, $0.to) = (FullTables.time(ofOrder: 50_000), FullTables.time(ofOrder: 50_576))
    },
    orders("of two days in a country", atMost: 100, finds: 34) {
      ($0.from, $0.to, $0.country) = (FullTables.time(ofOrder: 50_000), FullTables.time(ofOrder: 50_576), "Country 5")
    },
  ]

  private static let orderTexts = [
    orders("whose ids begin so", atMost: 300, finds: 11) { $0.text = "order-7777" },
    orders("by sku", atMost: 3_000) { $0.text = "SKU-4711" },
    orders("by a product's whole name", atMost: 1_000, finds: 20) { $0.text = "dopfjaj ijojcnd" },
    orders("by a product's name with a typo", atMost: 1_000, finds: 20) { $0.text = "ijojcdn" },
    orders("by a word of 25 products", atMost: 3_000) { $0.text = "dopfjaj" },
    orders("by a word of 25 products, later", atMost: 3_000, after: 100_000) { $0.text = "dopfjaj" },
    orders("by a customer's whole name", atMost: 1_000, finds: 68) { $0.text = "ckcakij bocjnej" },
    orders("by a word of 100 customers, in a rare state", atMost: 2_000, finds: 0) {
      ($0.text, $0.status) = ("ckcakij", "paid")
    },
    orders("by a letter that many words begin with", atMost: 4_000) { $0.text = "a" },
    orders("by a word that is nowhere", atMost: 200, finds: 0) { $0.text = "qqqqzzzz" },
  ]

  private static func customers(
    _ name: String, atMost bound: Int64, _ text: String? = nil, email: String? = nil,
    after cursor: CustomerQueries.Cursor? = nil, finds count: Int = 100
  ) -> QueryCost {
    QueryCost("customers " + name, atMost: bound) { queries in
      let page = try await queries.customers.search(text: text, email: email, after: cursor, limit: 100)
      guard page.items.count == count else { throw FoundNothing(name: "\(name): \(page.items.count)") }
    }
  }

  private static let customers = [
    QueryCost("one customer", atMost: 60, isByKey: true) {
      guard try await $0.customers.customer("customer-77") != nil else { throw FoundNothing(name: "customer") }
    },
    customers("", atMost: 2_500),
    customers("after the 25,000th", atMost: 2_500, after: .init(rank: 0, customerID: "customer-32500")),
    customers("by a whole name", atMost: 1_200, "ckcakij bocjnej", finds: 17),
    customers("by a word of 100", atMost: 3_000, "ckcakij"),
    customers("by a word with a typo", atMost: 3_000, "ckcakji"),
    customers("by a letter that many words begin with", atMost: 4_000, "a"),
    customers("by a word that is nowhere", atMost: 100, "qqqqzzzz", finds: 0),
    customers("by e-mail", atMost: 60, email: "777@Example.org", finds: 1),
  ]

  private static func products(
    _ name: String, atMost bound: Int64, after cursor: CatalogueQueries.Cursor? = nil, finds count: Int = 10,
    _ change: @escaping @Sendable (inout CatalogueQueries.Filter) -> Void
  ) -> QueryCost {
    QueryCost("products " + name, atMost: bound) { queries in
      var filter = CatalogueQueries.Filter()
      change(&filter)
      let page = try await queries.catalogue.search(filter, after: cursor, limit: 10)
      guard let page, page.items.count == count else { throw FoundNothing(name: "\(name): \(page?.items.count ?? -1)") }
    }
  }

  private static let catalogue = [
    QueryCost("one product", atMost: 100, isByKey: true) {
      guard try await $0.catalogue.product("SKU-77") != nil else { throw FoundNothing(name: "product") }
    },
    products("", atMost: 600) { _ in },
    products("after the 5,000th", atMost: 600, after: .init(value: "", sku: "SKU-5499")) { _ in },
    products("by name", atMost: 600) { $0.order = .name },
    products("by name, later", atMost: 600, after: .init(value: "ma", sku: "SKU-1")) { $0.order = .name },
    products("by price", atMost: 600) { $0.order = .unitPrice },
    products("by price, later", atMost: 600, after: .init(value: "500", sku: "SKU-1")) { $0.order = .unitPrice },
    products("from the dearest", atMost: 600) { $0.order = .unitPriceDescending },
    products("from the dearest, later", atMost: 600, after: .init(value: "500", sku: "SKU-1")) {
      $0.order = .unitPriceDescending
    },
    products("of a price", atMost: 600) { ($0.minimumPrice, $0.maximumPrice) = (100, 110) },
    products("by a whole name", atMost: 200, finds: 1) { $0.text = "dopfjaj ijojcnd" },
    products("by a word of 25", atMost: 700) { ($0.text, $0.order) = ("dopfjaj", .relevance) },
    products("by a word with a typo", atMost: 700) { ($0.text, $0.order) = ("dopfjja", .relevance) },
    products("by a word of 100 descriptions", atMost: 700) { ($0.text, $0.order) = ("klhfbbg", .relevance) },
    products("by a letter that many words begin with", atMost: 1_500) { ($0.text, $0.order) = ("a", .relevance) },
    products("by a word that is nowhere", atMost: 100, finds: 0) { $0.text = "qqqqzzzz" },
    products("that are not on sale", atMost: 1_200) { $0.isOnSale = false },
    products("that are sold out, by name", atMost: 2_000) { ($0.isInStock, $0.order) = (false, .name) },
  ]

  private static let others = [
    QueryCost("one return", atMost: 10, isByKey: true) {
      guard try await $0.rows.row("returns", "return-77") != nil else { throw FoundNothing(name: "return") }
    },
    sales("by day", .day, atMost: 3_000, finds: 100) { _ in },
    sales("by day, later", .day, atMost: 3_000, after: "2025-01-01", finds: 100) { _ in },
    sales("by day, of a country", .day, atMost: 3_000, finds: 100) { $0.country = "Country 5" },
    sales("by week", .week, atMost: 3_000, finds: 100) { _ in },
    sales("by week of a quarter", .week, atMost: 3_000, finds: 13) { ($0.from, $0.to) = ("2025-01-06", "2025-04-07") },
    sales("by day of a week", .day, atMost: 700, finds: 7) { ($0.from, $0.to) = ("2025-01-06", "2025-01-13") },
    sales("by month", .month, atMost: 500, finds: 23) { _ in },
    sales("of a month", .month, atMost: 60, finds: 1) { ($0.from, $0.to) = ("2025-02-01", "2025-03-01") },
    sales("by year, of a country", .year, atMost: 500, finds: 2) { $0.country = "Country 5" },
    best("of all time", atMost: 15_000) { _ in },
    best("of a week", atMost: 600) { ($0.from, $0.to) = ("2025-01-06", "2025-01-13") },
    best("of a week in a country", atMost: 1_500) {
      ($0.from, $0.to, $0.country) = ("2025-01-06", "2025-01-13", "Country 5")
    },
    QueryCost("countries", atMost: 500) {
      guard try await $0.sales.countries(SalesQueries.Filter()).count == 18 else {
        throw FoundNothing(name: "countries")
      }
    },
    QueryCost("best customers", atMost: 3_500) {
      guard try await $0.sales.customers(by: .net, limit: 20).count == 20 else { throw FoundNothing(name: "customers") }
    },
  ]

  private static func sales(
    _ name: String, _ interval: SalesQueries.Interval, atMost bound: Int64, after day: String? = nil, finds count: Int,
    _ change: @escaping @Sendable (inout SalesQueries.Filter) -> Void
  ) -> QueryCost {
    QueryCost("sales " + name, atMost: bound) { queries in
      var filter = SalesQueries.Filter()
      change(&filter)
      let page = try await queries.sales.periods(interval, filter, after: day, limit: 100)
      guard page.items.count == count else { throw FoundNothing(name: "\(name): \(page.items.count)") }
    }
  }

  private static func best(
    _ name: String, atMost bound: Int64, _ change: @escaping @Sendable (inout SalesQueries.Filter) -> Void
  ) -> QueryCost {
    QueryCost("best sellers " + name, atMost: bound) { queries in
      var filter = SalesQueries.Filter()
      change(&filter)
      for measure in SalesQueries.Measure.allCases {
        guard try await queries.sales.products(filter, by: measure, limit: 20).count == 20 else {
          throw FoundNothing(name: name)
        }
      }
    }
  }
}
