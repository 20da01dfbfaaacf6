import CommerceReadModels
import EventSourcing
import Foundation
import Postgres
import Projections
import TestSupport

/// The read models' tables with 200,000 orders of 50,000 customers, 10,000 products, and their totals.
struct FullTables {
  static let orders = 200_000
  static let customers = 50_000
  static let products = 10_000
  /// Order n is placed n times five minutes after this.
  static let start = Timestamp("2024-01-01T00:00:00Z")!

  let pool: PostgresPool

  /// - Parameter pool: A pool on a database that has the schemas and no generations yet.
  static func fill(_ pool: PostgresPool) async throws {
    let generations = Generations(pool)
    for projection in commerceReadModels() {
      let number = try await generations.add(
        projection, .standard, historyID: UUID(), state: .serving)
      guard number == 1 else { throw NeverHappened(description: "\(projection.name) has a generation already") }
    }
    try await pool.withConnection { connection in
      for statement in statements { try await connection.execute(statement, timeout: .seconds(300)) }
      // Otherwise the counts of this connection arrive only after it has been idle for a while.
      try await connection.query("select pg_stat_force_next_flush()")
    }
  }

  /// The time when an order was placed.
  static func time(ofOrder number: Int) -> Timestamp {
    Timestamp(microsecondsSince1970: start.microsecondsSince1970 + Int64(number) * 300_000_000)
  }

  // Words have seven letters; the same number gives the same word.
  private static let statements =
    [
      """
      create function pg_temp.word(number bigint) returns text language sql immutable as
        $$ select translate(substr(md5(number::text), 1, 7), '0123456789', 'ghijklmnop') $$
      """,
      """
      insert into read_models.customers_g1 (key, version, stream_hash, document, search, email)
      select 'customer-' || n, 1, 0,
        json_build_object('customerId', 'customer-' || n, 'name', name, 'email', n || '@example.org', 'country', null),
        ' ' || name, n || '@example.org'
      from generate_series(1, \(customers)) as n,
        lateral (select pg_temp.word(n % 500) || ' ' || pg_temp.word(1000 + n % 3000) as name) as names
      """,
      // 1 in 100 products is discontinued, and another 1 in 100 is sold out.
      """
      insert into read_models.catalogue_g1 (key, version, stream_hash, document, name, unit_price, is_on_sale, is_in_stock, search, details)
      select sku, 1, 0, json_build_object('sku', sku, 'name', name, 'description', repeat('lorem ', 20), 'unitPrice', n % 997),
        name, n % 997, n % 100 <> 1, n % 100 <> 2, ' ' || lower(sku) || ' sku ' || n || ' ' || name,
        ' ' || pg_temp.word(30000 + n % 100) || ' ' || pg_temp.word(40000 + n % 9)
      from generate_series(1, \(products)) as n,
        lateral (select 'SKU-' || n as sku, pg_temp.word(10000 + n % 400) || ' ' || pg_temp.word(20000 + n) as name) as names
      """,
      // 1 in 1,000 orders is not delivered; country 99 has 20 orders.
      """
      insert into read_models.orders_g1 (key, version, stream_hash, document, customer_id, placed_at, status, country, skus)
      select 'order-' || n, 4, 0, json_build_object('orderId', 'order-' || n, 'lines', repeat('line ', 100)),
        'customer-' || (n::bigint * 7919 % \(customers) + 1), timestamptz '\(start)' + n * interval '300 seconds',
        case when n % 1000 = 1 then 'paid' else 'delivered' end,
        'Country ' || case when n % 10000 = 3 then 99 else n % 17 end,
        'SKU-' || (n % \(products) + 1) || E'\\x1fSKU-' || (n * 31 % \(products) + 1)
      from generate_series(1::bigint, \(orders)) as n
      """,
      """
      insert into read_models.returns_g1 (key, version, stream_hash, document)
      select 'return-' || n, 1, 0, json_build_object('returnId', 'return-' || n) from generate_series(1, 20000) as n
      """,
      """
      insert into read_models.sales_days_g1 (partition, day, country, orders, units, gross, cancelled, returned)
      select hashtext(key) & 63, placed_at::date, country, count(*), 2 * count(*), 1000 * count(*), 0, 0
      from read_models.orders_g1 group by 1, 2, 3 order by 2
      """,
      """
      insert into read_models.sales_months_g1 (partition, month, country, orders, units, gross, cancelled, returned)
      select partition, date_trunc('month', day), country, sum(orders), sum(units), sum(gross), 0, 0
      from read_models.sales_days_g1 group by 1, 2, 3 order by 2
      """,
      """
      insert into read_models.sales_products_g1 (partition, day, country, sku, units, gross, returned)
      select hashtext(key) & 63, placed_at::date, country, sku, count(*), 1000 * count(*), 0
      from read_models.orders_g1, string_to_table(skus, E'\\x1f') as sku group by 1, 2, 3, 4 order by 2
      """,
      """
      insert into read_models.sales_totals_g1 (partition, sku, units)
      select partition, sku, sum(units) from read_models.sales_products_g1 group by 1, 2
      """,
      """
      insert into read_models.sales_customers_g1 (partition, customer_id, orders, gross, returned)
      select hashtext(key) & 63, customer_id, count(*), 1000 * count(*), 0 from read_models.orders_g1 group by 1, 2
      """,
    ]
    + [
      "orders", "customers", "catalogue", "returns", "sales_days", "sales_months", "sales_products", "sales_totals",
      "sales_customers",
    ].flatMap {
      ["alter table read_models.\($0)_g1 set (autovacuum_enabled = off)", "vacuum analyze read_models.\($0)_g1"]
    }
}

/// The number of blocks of the read models' tables and indexes that a query touches, as PostgreSQL counts them. It
/// measures the statements and plans of production.
struct BlockCount {
  /// One connection, so that the counts include no other queries.
  let pool: PostgresPool

  func touched(by body: () async throws -> Void) async throws -> Int64 {
    let before = try await total()
    try await body()
    return try await total() - before
  }

  private func total() async throws -> Int64 {
    // Otherwise PostgreSQL reports counts only now and then.
    try await pool.query("select pg_stat_force_next_flush()")
    return try await pool.query(
      """
      select sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0)
        + coalesce(toast_blks_read + toast_blks_hit + tidx_blks_read + tidx_blks_hit, 0))::bigint
      from pg_statio_all_tables where schemaname = 'read_models'
      """
    ).value(Int64.self)
  }
}
