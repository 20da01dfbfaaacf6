import EventSourcing
import JSON
import Postgres
import Projections
import TestSupport
import Testing

@testable import CommerceReadModels

@Suite("Search", .tags(.integration), .needsServers)
struct SearchTests {
  /// 86 ligatures that NFKD turns into three letters each: 258 letters.
  private static let ligatures = "Zephyrs" + String(repeating: "\u{FB03}", count: 86)

  /// - Parameter search: The search text as an earlier build wrote it; nil for the text of this build.
  private func insert(
    _ sku: String, _ name: String, _ description: String = "", search: String? = nil, in pool: PostgresPool
  ) async throws {
    try await pool.query(
      """
      insert into read_models.catalogue_shape (key, version, stream_hash, document, name, unit_price, is_on_sale, is_in_stock, search, details)
      values (\(sku), 1, 0, json_build_object('sku', \(sku)::text), \(name), 1, true, true, \(search ?? SearchText.normal("\(sku) \(name)")),
        \(SearchText.normal(description)))
      """)
  }

  private func skus(_ text: String, _ pool: PostgresPool) async throws -> [String] {
    var filter = CatalogueQueries.Filter()
    (filter.text, filter.order) = (text, .relevance)
    var (found, cursor): ([String], CatalogueQueries.Cursor?) = ([], nil)
    // Page by page: the order must hold across pages.
    repeat {
      let page = try #require(try await CatalogueQueries(pool).search(filter, after: cursor, limit: 1))
      cursor = page.next
      found += try page.items.map { try JSON(parsing: $0)["sku"]?.string ?? "" }
    } while cursor != nil
    return found
  }

  private func pool() -> PostgresPool {
    PostgresPool(FreshDatabase.current.configuration, logger: .quiet, onConnect: SearchText.prepare)
  }

  @Test(
    "Search works when a word expands to many letters, also in rows of before the length limit",
    .freshDatabase(projectionsSchema, readModelsSchema(commerceReadModels())))
  func longWords() async throws {
    let pool = pool()
    let whole = " zz3 zephyrs" + String(repeating: "ffi", count: 86)
    try await insert("ZZ1", "Zephyrs", in: pool)
    try await insert("ZZ2", Self.ligatures, in: pool)
    try await insert("ZZ3", Self.ligatures, search: whole, in: pool)
    try await insert("ZZ4", "Lampe", in: pool)
    for text in ["zephrys", "lampen", "zephyrsffi", Self.ligatures, String(repeating: "z", count: 200)] {
      var orders = OrderQueries.Filter()
      orders.text = text
      #expect(try await OrderQueries(pool).search(orders, after: nil, limit: 10).items.isEmpty)
      #expect(try await CustomerQueries(pool).search(text: text, email: nil, after: nil, limit: 10).items.isEmpty)
    }
    #expect(try await skus("zephrys", pool) == ["ZZ1"])
    #expect(try await skus("lampen", pool) == ["ZZ4"])
    #expect(try await skus("zephyrsffi", pool).count == 2)
    #expect(try await skus(Self.ligatures, pool).count == 2)
    await pool.close()
  }

  @Test("Words have at most 64 letters, in the searched text and in the query")
  func bounds() {
    #expect(SearchText.words(Self.ligatures).map(\.count) == [64])
    #expect(SearchText.normal(Self.ligatures).count == 65)
    let long = String(repeating: "\u{FDFA}", count: 20)
    #expect(SearchText.normal("a-\(long)").split(separator: " ").allSatisfy { $0.unicodeScalars.count <= 64 })
    #expect(SearchText.normal("Byron-Lovelace née") == " byron-lovelace byron lovelace nee")
  }

  @Test(
    "Search covers descriptions, ranks names first, and finds words in either",
    .freshDatabase(projectionsSchema, readModelsSchema(commerceReadModels())))
  func descriptions() async throws {
    let pool = pool()
    try await insert("A", "Oak table", "Goes well with a lantern", in: pool)
    try await insert("B", "Lanterns, metal", "A pair", in: pool)
    try await insert("C", "Oak chair", "", in: pool)
    #expect(try await skus("lantern", pool) == ["B", "A"])
    #expect(try await skus("oak lantern", pool) == ["A"])
    #expect(try await skus("oak", pool) == ["A", "C"])
    #expect(try await skus("goes well", pool) == ["A"])
    #expect(try await skus("nowhere", pool).isEmpty)
    await pool.close()
  }
}
