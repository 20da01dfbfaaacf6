import EventSourcing
import Postgres
import Projections
import QueryKit
import TestSupport
import Testing

@testable import CommerceReadModels

/// The queries of every read model, over one pool.
struct AllQueries {
  let orders: OrderQueries
  let customers: CustomerQueries
  let catalogue: CatalogueQueries
  let rows: ReadAccess
  let sales: SalesQueries

  init(_ pool: PostgresPool) {
    orders = OrderQueries(pool)
    customers = CustomerQueries(pool)
    catalogue = CatalogueQueries(pool)
    rows = ReadAccess(byKey: pool, lists: pool)
    sales = SalesQueries(pool)
  }
}

@Suite("Query costs", .tags(.integration), .needsServers)
struct QueryCostTests {
  @Test(
    "Every id column has the collation C, so a join of any two can use an index",
    .freshDatabase(projectionsSchema, readModelsSchema(commerceReadModels())))
  func collations() async throws {
    let connection = try await FreshDatabase.current.connect()
    let ids = try await connection.query(
      """
      select table_name || '.' || column_name, coalesce(collation_name, 'the default') from information_schema.columns
      where table_schema = 'read_models' and table_name like '%\\_shape' and column_name in ('key', 'customer_id', 'sku')
      """
    ).decode((String, String).self)
    #expect(ids.count == 9)
    #expect(ids.filter { $0.1 != "C" }.isEmpty)
    await connection.close()
  }

  @Test(
    "With 200,000 orders no query exceeds its bound of blocks, and every index is needed by a query",
    .freshDatabase(projectionsSchema, readModelsSchema(commerceReadModels())))
  func blocks() async throws {
    let filling = FreshDatabase.current.pool()
    try await FullTables.fill(filling)
    let all = try await excesses(of: QueryCost.all)
    #expect(all.isEmpty)
    for index in try await filling.query(Self.indexes).decode(String.self) {
      // The planner ignores an invalid index.
      try await filling.query(
        "update pg_index set indisvalid = false where indexrelid = \(untyped: index)::regclass")
      let missing = try await excesses(of: QueryCost.all, untilFirst: true)
      #expect(!missing.isEmpty, "no query misses \(index)")
      try await filling.query(
        "update pg_index set indisvalid = true where indexrelid = \(untyped: index)::regclass")
    }
    await filling.close()
  }

  private static let indexes: Query = """
    select format('%I.%I', n.nspname, i.relname) from pg_index x join pg_class i on i.oid = x.indexrelid
    join pg_class t on t.oid = x.indrelid join pg_namespace n on n.oid = t.relnamespace
    where n.nspname = 'read_models' and t.relname like '%\\_g1' and t.relname <> 'sales_g1' order by 1
    """

  /// Queries that touch more blocks than allowed.
  private func excesses(of costs: [QueryCost], untilFirst: Bool = false) async throws -> [String] {
    var found: [String] = []
    for cost in costs {
      // A new connection for each query: its plan cache is empty.
      var configuration = FreshDatabase.current.configuration
      // Without its index a query may take long, and its blocks count only when it ends.
      configuration.statementTimeout = .seconds(300)
      let pool = PostgresPool(
        configuration, limits: .init(size: 1, acquireTimeout: .seconds(20)), logger: .quiet
      ) { connection in
        if !cost.isByKey { try await SearchText.prepare(connection) }
        // The blocks of parallel workers would be counted elsewhere.
        try await connection.execute("set max_parallel_workers_per_gather = 0")
      }
      let (queries, count) = (AllQueries(pool), BlockCount(pool: pool))
      // From the sixth run on PostgreSQL may use one plan for all parameters, unless told to plan each query.
      for _ in 1...(cost.isByKey ? 7 : 1) {
        let blocks: Int64
        do { blocks = try await count.touched { try await cost.run(queries) } } catch let nothing
          as QueryCost.FoundNothing
        {
          found.append("\(cost.name) found \(nothing.name)")
          break
        }
        if blocks > cost.bound {
          found.append("\(cost.name): \(blocks) blocks, \(cost.bound) allowed")
          break
        }
      }
      await pool.close()
      if untilFirst, !found.isEmpty { break }
    }
    return found
  }
}
