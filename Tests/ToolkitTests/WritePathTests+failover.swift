import EventSourcing
import Foundation
import Postgres
import TestSupport
import Testing

@testable import PostgresEventStore

extension WriteStoreTests {
  /// As after a switch to a standby of the same cluster.
  private func promoteStandby(_ owner: PostgresConnection) async throws {
    try await owner.query("update event_store.identity set timeline = '00000000'")
  }

  @Test(
    "A server that took over without loss becomes the store's, by a process that has looked",
    .freshDatabase(eventStoreSchema))
  func failover() async throws {
    let database = FreshDatabase.current!
    let owner = try await database.connect()
    let (witness, newcomer) = (ServerWitness(logger: .quiet), ServerWitness(logger: .quiet))
    let pool = PostgresPool(database.configuration, logger: .quiet, onConnect: witness.check)
    witness.watch(pool)
    let store = PostgresEventStore(pool)
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)]))
    let history = try await store.historyID()
    try await withServices([pool, witness]) {
      try await eventually("it has looked") { witness.evidence.head?.position == Position(1) }
      try await promoteStandby(owner)
      // A process that knows nothing of the store cannot know that nothing was lost.
      await #expect(throws: ForeignServer.self) { try await newcomer.check(owner) }
      try await witness.check(owner)
      try await newcomer.check(owner)
      #expect(try await store.historyID() == history)
    }
  }

  @Test(
    "A server that lost an event is marked, and no process appends until that is declared",
    .freshDatabase(eventStoreSchema), arguments: [true, false])
  func failoverWithLoss(hasMoved: Bool) async throws {
    let database = FreshDatabase.current!
    let owner = try await database.connect()
    let witness = ServerWitness(logger: .quiet)
    let pool = database.pool()
    witness.watch(pool)
    let (store, idle) = (PostgresEventStore(pool), PostgresEventStore(database.pool()))
    _ = try await idle.append(AppendBatch(expectedVersions: [:], events: [event(a)]))
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event(a)]))
    try await withServices([pool, witness]) {
      try await eventually("it has looked") { witness.evidence.head?.position == Position(2) }
      try await owner.execute(
        """
        alter table event_store.events disable trigger all; alter table event_store.events_1 disable trigger all;
        delete from event_store.events where position > 1; update event_store.streams set version = 1, last_position = 1;
        alter table event_store.events enable trigger all; alter table event_store.events_1 enable trigger all;
        """)
      // Otherwise it is the same server at an earlier time, or an old primary that came back.
      if hasMoved { try await promoteStandby(owner) }
      await #expect(throws: ForeignServer.self) { try await witness.check(owner) }
    }
    // It has seen nothing that is lost.
    await #expect { _ = try await idle.append(AppendBatch(expectedVersions: [:], events: [event(a)])) } throws: {
      if case .historyChanged = $0 as? EventStoreError { true } else { false }
    }
    await #expect(throws: (any Error).self) {
      _ = try await PostgresEventStore.declareRestored(losingNothing: true, owner)
    }
    _ = try await PostgresEventStore.declareRestored(losingNothing: false, owner)
    #expect(try await idle.append(AppendBatch(expectedVersions: [:], events: [event(a)])) == .restored())
    try await witness.check(owner)
  }
}
