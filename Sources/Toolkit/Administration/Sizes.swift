internal import EventSourcing
internal import JSON
internal import Postgres
internal import PostgresEventStore

/// How large both stores are.
struct Sizes: Sendable {
  let events: StoreSizes
  /// The read store's database, and the tables of the read models in it, in bytes.
  let readStore: Int64
  let readModels: Int64

  init(_ stores: Stores) async throws {
    events = try await stores.events.sizes()
    (readStore, readModels) = try await stores.readStore.query(
      """
      select pg_database_size(current_database()), coalesce((
        select sum(pg_total_relation_size(c.oid)) from pg_class c
        where c.relnamespace = 'read_models'::regnamespace and c.relkind = 'r'), 0)::bigint
      """
    ).decode((Int64, Int64).self)[0]
  }

  var text: String {
    var table = Table("size in MB", "now", "grows a day", "events a day")
    table.add("write store", Self.megabytes(events.database), "", "")
    table.add(
      "its events", Self.megabytes(events.events), Self.megabytes(events.bytesPerDay), "\(events.eventsPerDay)")
    table.add("its keys", Self.megabytes(events.keys), "", "")
    table.add("its snapshots", Self.megabytes(events.snapshots), "", "")
    table.add("read store", Self.megabytes(readStore), "", "")
    table.add("its read models", Self.megabytes(readModels), "", "")
    guard events.archived > .start else { return table.text }
    return table.text + "\n\nThe events up to position \(events.archived) are archived."
  }

  /// In millions of bytes with one decimal.
  private static func megabytes(_ bytes: Int64) -> String {
    let tenths = (bytes + 50_000) / 100_000
    return "\(tenths / 10).\(tenths % 10)"
  }

  func write(to json: inout JSONWriter) {
    json.object { json in
      json.member("writeStoreBytes", events.database)
      json.member("eventsBytes", events.events)
      json.member("keysBytes", events.keys)
      json.member("snapshotsBytes", events.snapshots)
      json.member("readStoreBytes", readStore)
      json.member("readModelsBytes", readModels)
      json.member("eventsPerDay", events.eventsPerDay)
      json.member("eventsBytesPerDay", events.bytesPerDay)
      json.member("archivedPosition", events.archived.rawValue)
    }
  }
}
