public import Postgres

/// The write store's tables, functions and privileges.
public let eventStoreSchema = Schema(
  name: "event_store",
  migrations: [
    Migration(version: 1, name: "events", sql: text(PackageResources.v0001_events_sql)),
    Migration(version: 2, name: "write path", sql: text(PackageResources.v0002_write_path_sql)),
    Migration(version: 3, name: "turns", sql: text(PackageResources.v0003_turns_sql)),
    Migration(version: 4, name: "cursors", sql: text(PackageResources.v0004_cursors_sql)),
    Migration(version: 5, name: "pages", sql: text(PackageResources.v0005_pages_sql)),
    Migration(version: 6, name: "generated keys", sql: text(PackageResources.v0006_generated_keys_sql)),
  ],
  afterwards: [text(PackageResources.functions_sql), text(PackageResources.privileges_sql)])

private func text(_ resource: [UInt8]) -> String { String(decoding: resource, as: UTF8.self) }
