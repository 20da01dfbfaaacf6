import EventSourcing
import Postgres
import PostgresEventStore
import TestSupport
import Testing

// Pages of a partition.
extension WriteStoreTests {
  @Test(
    "A page of several ranges of hashes reads little more than it returns, and no event is missing between pages",
    .freshDatabase(eventStoreSchema))
  func pages() async throws {
    let store = PostgresEventStore(FreshDatabase.current.pool())
    // One stream in ten events is always the same: its range is much larger than the others.
    for batch in 0..<10 {
      let events = (0..<1000).map { $0 % 10 == 0 ? event(a) : event(StreamID(rawValue: "thing-\(batch)-\($0)")) }
      _ = try await store.append(AppendBatch(expectedVersions: [:], events: events))
    }
    let all = try await store.events(after: .start, limit: 10_000)
    #expect(all.count == 10_000)
    for partition in [Partitioning.single, .standard].flatMap(\.partitions) {
      var found: [Position] = []
      var isLast = false
      while !isLast {
        let page = try await store.page(
          of: partition, from: found.last ?? Position(1), categories: ["thing"], limit: PageLimit(events: 100))
        #expect((2...100).contains(page.events.count) || page.isLast)
        found += page.events.map(\.position).filter { $0 > found.last ?? .start }
        isLast = page.isLast
      }
      #expect(found == all.filter { partition.partitioning.partition(ofHash: $0.hash) == partition }.map(\.position))
    }
    let fetched = try await FreshDatabase.current!.connect().transaction { connection in
      try connection.query("select from event_store.bucket_page(0, 63, 1, '{thing}', 201, 100000)")
      return try connection.query(
        """
        select sum(pg_stat_get_xact_tuples_fetched(i.indexrelid))::bigint from pg_index i
        where i.indrelid = 'event_store.events_1'::regclass
        """
      ).decode(Int64.self)
    }
    // A page of every range would be more than 9,000 events.
    #expect((201..<3_000).contains(fetched[0]))
  }
}
