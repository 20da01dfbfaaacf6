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
    let store = AssignmentStore(generation: generation, worker: UUID(), lane: 0, lanes: 1)
    _ = try await store.claim(16, on: pool)
    try await engine.append(1)
    let event = try #require(try await engine.store.events(after: .start, limit: 1).first)
    let partition = generation.partitioning.partition(of: event.stream)
    try await pool.query(store.park(Refusal(event, error: "refused", .person), event.stream, partition))
    let parked = try #require(try await store.parked([partition], on: pool).first)
    var addition = Ledger.Addition()
    addition.add([event], partition)
    let advance = AssignmentStore.Advance(partition: partition, from: .start, to: .start, applied: addition)
    let rounds = SharedRounds(pool, worker: store.worker)
    func resume() async throws {
      let part = RoundPart(load: nil, moves: store.advance([advance]).moves) { _ in
        [.query(store.expect(parked)), .query(store.unpark(event.stream))]
      }
      try await rounds.write(part, of: ObjectIdentifier(rounds))
    }
    try await resume()
    await #expect { try await resume() } throws: { ($0 as? PostgresError)?.code == .server(.fenced) }
    #expect(try await pool.query("select sum(applied)::bigint from projections.applied").value(Int64.self) == 1)
    #expect(try await store.parked([partition], on: pool).isEmpty)
  }
}
