package import Postgres

/// The write store's tables, functions and privileges.
package let eventStoreSchema = Schema(
  name: "event_store",
  migrations: [
    Migration(version: 1, name: "event store", sql: text(PackageResources.v0001_event_store_sql)),
    Migration(version: 2, name: "lost event", sql: text(PackageResources.v0002_lost_event_sql)),
    Migration(version: 3, name: "archives", sql: text(PackageResources.v0003_archives_sql)),
  ],
  afterwards: [
    text(PackageResources.archive_functions_sql), text(PackageResources.functions_sql),
    text(PackageResources.privileges_sql),
  ])

private func text(_ resource: [UInt8]) -> String { String(decoding: resource, as: UTF8.self) }
