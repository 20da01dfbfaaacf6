public import Postgres

/// The write store's tables and functions.
public let eventStoreSchema = Schema(
  name: "event_store",
  migrations: [
    Migration(
      version: 1, name: "events", sql: String(decoding: PackageResources.v0001_events_sql, as: UTF8.self))
  ])
