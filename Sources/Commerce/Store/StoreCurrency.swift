public import Postgres

/// What the commerce back end keeps in the write store beside its events. Needs the schema of the event store.
public let commerceStoreSchema = Schema(
  name: "commerce",
  migrations: [
    Migration(version: 1, name: "currency", sql: String(decoding: PackageResources.v0001_currency_sql, as: UTF8.self))
  ],
  afterwards: [String(decoding: PackageResources.privileges_sql, as: UTF8.self)])

/// The currency of every price in a write store.
public enum StoreCurrency {
  /// Gives the store a currency where it has none yet. Of two callers at the same moment one wins.
  /// - Returns: the store's currency from now on.
  public static func establish(_ currency: String, _ writeStore: PostgresPool) async throws -> String {
    let read: Query = "select currency from commerce.store"
    if let known = try await writeStore.query(read).decode(String.self).first { return known }
    try await writeStore.query("insert into commerce.store (currency) values (\(currency)) on conflict do nothing")
    // A statement of its own: it sees what another caller has committed meanwhile.
    return try await writeStore.query(read).value(String.self)
  }
}
