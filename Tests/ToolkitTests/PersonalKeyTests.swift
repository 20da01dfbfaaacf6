import Logging
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@Suite("Personal keys", .needsServers)
struct PersonalKeyTests {
  @Test(
    "A key names the history of the store that had it, so that data which it sealed gets into no other",
    .freshDatabase(eventStoreSchema, personalSchema))
  func history() async throws {
    let owner = try await FreshDatabase.current.connect()
    let pool = PostgresPool(FreshDatabase.current.configuration, logger: .quiet)
    try await withServices([pool]) {
      let keys = PersonalKeys(pool)
      let first = try #require(try await keys.key(of: "ada"))
      #expect(try await keys.keys(of: ["ada", "bob"]).mapValues(\.historyID) == ["ada": first.historyID])
      let restored = try await PostgresEventStore.declareRestored(losingNothing: false, owner)
      #expect(restored.historyID != first.historyID)
      #expect(try await keys.key(of: "ada")?.historyID == restored.historyID)
      #expect(try await keys.keys(of: ["ada"])["ada"]?.historyID == restored.historyID)
    }
  }
}
