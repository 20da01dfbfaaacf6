import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Parked effects", .tags(.system), .needsServers)
struct ParkedEffectTests {
  @Test("parked shows when a call is tried again, and every attempt at it", .freshStores)
  func shown() async throws {
    let system = System()
    try await system.migrate()
    let owner = try await FreshDatabase.current.connect()
    let event = UUID()
    let key = "reaction/telling/\(event.uuidString.lowercased())"
    try await owner.query(
      """
      insert into event_store.events values (1, 'job-a', 1, 0, \(event), 'JobReported', 1, '{"number":1}', '{}', now())
      """)
    for (stream, position) in [("job-a", Int64(1)), ("job-b", 2), ("job-late", 3)] {
      try await owner.query(
        """
        insert into projections.parked
          (projection, generation, stream, partition, version, position, event_id, event_type, error, retry_at)
        values ('reaction/telling', 1, \(stream), 0, 1, \(position), \(event), 'JobReported', 'no answer',
          case \(stream) when 'job-a' then timestamptz '2099-01-01T00:00:00Z'
            when 'job-late' then timestamptz '2001-01-01T00:00:00Z' end)
        """)
    }
    for (number, slot, error) in [
      (1, "", "refused at first"), (2, "/owner", "refused again"), (1, "0", "of another event"),
    ] {
      try await owner.query(
        """
        insert into event_store.effect_attempts
          (key, attempt, effect, stream, position, started_at, finished_at, outcome, error)
        values (\(key + slot), \(Int32(number)), 'telling', 'job-a', 1, now(), now(), 'failed', \(error))
        """)
    }
    func counterflow(_ arguments: String...) async throws -> String {
      let process = try system.run("counterflow", arguments)
      _ = try await process.wait()
      return process.output
    }
    let show = try await counterflow("parked", "show", "reaction/telling", "job-a")
    for text in ["JobReported", "no answer", "retry at 2099", "refused at first", "refused again", "\(key)/owner"] {
      #expect(show.contains(text), "\(text) in \(show)")
    }
    #expect(!show.contains("of another event"), "\(show)")
    let list = try await counterflow("parked", "list", "--json")
    let parked = try #require(try JSON(parsing: Array(list.utf8)).array)
    #expect(parked.map { $0["retryAt"]?.string } == ["2099-01-01T00:00:00Z", nil, "2001-01-01T00:00:00Z"], "\(list)")
    #expect(try await counterflow("parked").contains("operator"))
    try await owner.execute(
      """
      insert into projections.generations (projection, generation, version, partition_count, tables, state, categories)
      values ('reaction/telling', 1, 1, 1, '{}', 'serving', '{job}')
      """)
    let status = try await counterflow("status", "--json")
    let generation = try JSON(parsing: Array(status.utf8))["generations"]?.array?.first
    // A retry that is long overdue needs a person too.
    #expect(generation?["parkedStreams"]?.integer == 2 && generation?["retryingStreams"]?.integer == 1, "\(status)")
  }
}
