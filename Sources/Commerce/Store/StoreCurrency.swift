public import Postgres

/// The schema of the commerce back end in the write store. It needs the schema of the event store.
public let commerceStoreSchema = Schema(
  name: "commerce",
  migrations: [
    Migration(version: 1, name: "currency", sql: String(decoding: PackageResources.v0001_currency_sql, as: UTF8.self))
  ],
  afterwards: [String(decoding: PackageResources.privileges_sql, as: UTF8.self)])

/// The currency of every price in a write store.
public enum StoreCurrency {
  /// Sets the store's currency if it has none yet. If two callers do this at once, one of them wins.
  /// - Parameter currency: an ISO 4217 code.
  /// - Returns: the store's currency from now on.
  public static func establish(_ currency: String, _ writeStore: PostgresPool) async throws -> String {
    let read: Query = "select currency from commerce.store"
    if let known = try await writeStore.query(read).decode(String.self).first { return known }
    try await writeStore.query("insert into commerce.store (currency) values (\(currency)) on conflict do nothing")
    // A separate statement, so that it sees what another caller committed in between.
    return try await writeStore.query(read).value(String.self)
  }
}
