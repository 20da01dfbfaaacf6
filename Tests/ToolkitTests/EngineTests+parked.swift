import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import Projections

extension EngineTests {
  @Test(
    "A parked stream continues once, though the answer to its first attempt is lost", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func resumedTwice() async throws {
    let engine = Engine()
    let pool = engine.pool
    let generation = try await engine.firstGeneration()
    let (store, lane) = (
      PostgresProjectionStore(pool), Lane(generation: generation, worker: UUID(), number: 0, count: 1)
    )
    _ = try await store.claim(16, lane)
    try await engine.append(1)
    let event = try #require(try await engine.store.events(after: .start, limit: 1).first)
    let partition = generation.partitioning.partition(of: event.stream)
    let refusal = Refusal(event, error: "refused", .person)
    let parking = RoundPart(generation: generation, rows: nil, changes: [.park(refusal, event.stream, partition)])
    try await store.write([parking], by: lane.worker)
    let parked = try #require(try await store.parked([partition], of: generation).first)
    var addition = Ledger.Addition()
    addition.add([event], partition)
    let advance = Advance(partition: partition, from: .start, to: .start, applied: addition)
    let rounds = SharedRounds(store, worker: lane.worker)
    func resume() async throws {
      var part = RoundPart(generation: generation, rows: nil, changes: [.expect(parked), .unpark(event.stream)])
      part.move(advance)
      try await rounds.write(part, of: ObjectIdentifier(rounds))
    }
    try await resume()
    await #expect(throws: FencedError.self) { try await resume() }
    #expect(try await pool.query("select sum(applied)::bigint from projections.applied").value(Int64.self) == 1)
    #expect(try await store.parked([partition], of: generation).isEmpty)
  }
}
