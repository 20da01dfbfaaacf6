public import Postgres
public import PostgresEventStore
public import Projections

/// The read models' tables.
public let readModelsSchema = Schema(
  name: "read_models",
  migrations: [
    Migration(
      version: 1, name: "orders_catalogue",
      sql: String(decoding: PackageResources.v0001_orders_catalogue_sql, as: UTF8.self)),
    Migration(
      version: 2, name: "generations",
      sql: String(decoding: PackageResources.v0002_generations_sql, as: UTF8.self)),
    Migration(
      version: 3, name: "commerce", sql: String(decoding: PackageResources.v0003_commerce_sql, as: UTF8.self)),
    Migration(
      version: 4, name: "customers", sql: String(decoding: PackageResources.v0004_customers_sql, as: UTF8.self)),
    Migration(
      version: 5, name: "typos", sql: String(decoding: PackageResources.v0005_typos_sql, as: UTF8.self)),
    Migration(
      version: 6, name: "months", sql: String(decoding: PackageResources.v0006_months_sql, as: UTF8.self)),
    Migration(
      version: 7, name: "lookups", sql: String(decoding: PackageResources.v0007_lookups_sql, as: UTF8.self)),
  ],
  afterwards: [String(decoding: PackageResources.privileges_sql, as: UTF8.self)])

/// Every projection that the projector runs.
/// - Parameter keys: for what is personal; nil where nothing is projected, and only names are asked for.
public func commerceProjections(_ keys: PersonalKeys?) -> [AnyProjection] {
  [
    AnyProjection(OrdersProjection()), AnyProjection(CatalogueProjection()),
    AnyProjection(CustomersProjection(keys: keys)),
    AnyProjection(ReturnsProjection()), AnyProjection(SalesProjection()),
  ]
}
