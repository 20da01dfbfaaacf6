public import Postgres

/// The engine's own tables in the read store.
public let projectionsSchema = Schema(
  name: "projections",
  migrations: [
    Migration(
      version: 1, name: "projections", sql: String(decoding: PackageResources.v0001_projections_sql, as: UTF8.self)),
    Migration(
      version: 2, name: "generations",
      sql: String(decoding: PackageResources.v0002_generations_sql, as: UTF8.self)),
    Migration(
      version: 3, name: "numbers", sql: String(decoding: PackageResources.v0003_numbers_sql, as: UTF8.self)),
    Migration(
      version: 4, name: "one row", sql: String(decoding: PackageResources.v0004_one_row_sql, as: UTF8.self)),
  ],
  afterwards: [
    String(decoding: PackageResources.functions_sql, as: UTF8.self),
    String(decoding: PackageResources.privileges_sql, as: UTF8.self),
  ])
