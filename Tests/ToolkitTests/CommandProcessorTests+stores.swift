import CommandProcessing
import EventSourcing
import Foundation
import JSON
import Postgres
import PostgresEventStore
import ServiceLifecycle
import TestSupport
import Testing

// Stored responses and snapshots, and several replicas.
extension CommandProcessorTests {
  @Test(
    "Every replica answers a key with the same response, and rejects the key with another request",
    .tags(.integration), .needsServers, .freshDatabase(eventStoreSchema), arguments: StoreKind.allCases)
  func idempotency(kind: StoreKind) async throws {
    let store = AnyStore(kind.make())
    let key = CommandRequest.fresh("k", body: "one")
    try await withProcessor(store) { first in
      try await withProcessor(store) { second in
        let responses = try await withThrowingTaskGroup(of: String.self) { group in
          for n in 0..<20 {
            group.addTask { try await (n % 2 == 0 ? first : second).response(Count(ids: ["a"], amount: 5), key) }
          }
          return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect(responses == ["v1 true @1"])
        // The response stays the same later, when the command itself would be rejected.
        #expect(try await second.response(Count(ids: ["a"], amount: 5, limit: 5), key) == "v1 true @1")
        await #expect { _ = try await first.response(Count(ids: ["a"]), .fresh("k", body: "two")) } throws: {
          if case .keyReused("k") = $0 as? CommandError { true } else { false }
        }
        // The response of a no-op is stored too, and stays the same after later changes.
        let nothing = CommandRequest.fresh("n")
        #expect(try await first.response(Count(ids: ["a"], amount: 0), nothing) == "v1 false @1")
        _ = try await second.execute(Count(ids: ["a"]))
        #expect(try await second.response(Count(ids: ["a"], amount: 0), nothing) == "v1 false @1")
      }
    }
    #expect(try await store.events(in: Tally.stream("a"), after: .none, limit: 10).count == 2)
    #expect(try await store.head() == Position(2))
  }

  @Test("A rejection is not stored, and the same key is decided again")
  func rejectionsAreDecidedAgain() async throws {
    try await withProcessor(InMemoryEventStore()) { processor in
      let request = CommandRequest.fresh("r")
      await #expect(throws: Rejection.self) {
        _ = try await processor.response(Count(ids: ["a"], amount: 2, limit: 1), request)
      }
      _ = try await processor.execute(Count(ids: ["a"], amount: -1))
      #expect(try await processor.response(Count(ids: ["a"], amount: 2, limit: 1), request) == "v2 true @2")
    }
  }

  @Test("A key repeated inside a batch gets its first response, and the other commands of the batch run")
  func repeatInBatch() async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      let known = CommandRequest.fresh("known")
      #expect(try await processor.response(Count(ids: ["a"]), known) == "v1 true @1")
      let (entered, release) = (AsyncStream<Void>.makeStream(), AsyncStream<Void>.makeStream())
      await store.before { _ async in
        entered.continuation.yield()
        for await _ in release.stream { break }
      }
      async let held = processor.execute(Count(ids: ["x"]))
      for await _ in entered.stream { break }
      // These wait for one batch. The repeat must not count again, and the next command depends on its stream.
      async let again = processor.response(Count(ids: ["a"]), known)
      async let neighbour = processor.execute(Count(ids: ["a", "b"]))
      async let both = [
        processor.response(Count(ids: ["c"]), .fresh("twice")), processor.response(Count(ids: ["c"]), .fresh("twice")),
      ]
      try await Task.sleep(for: .milliseconds(50))
      release.continuation.yield()
      _ = try await held
      #expect(try await again == "v1 true @1")
      #expect(try await neighbour.streams[Tally.stream("a")]?.version == Version(2))
      let responses = try await both
      #expect(responses[0] == responses[1])
      #expect(
        try await processor.execute(Count(ids: ["c"], amount: 0)).streams[Tally.stream("c")]?.version == Version(1))
    }
  }

  @Test("A command with expected versions runs only at these versions")
  func preconditions() async throws {
    try await withProcessor(InMemoryEventStore()) { processor in
      _ = try await processor.execute(Count(ids: ["a"]))
      #expect(try await processor.response(Count(ids: ["a"]), .fresh(expecting: [Version(1)])) == "v2 true @2")
      await #expect {
        _ = try await processor.response(Count(ids: ["a"]), .fresh(expecting: [Version(1), Version(3)]))
      } throws: {
        if case .preconditionFailed(Tally.stream("a"), current: Version(2)) = $0 as? CommandError {
          true
        } else {
          false
        }
      }
    }
  }

  @Test(
    "A long stream is loaded from its snapshot, unless the snapshot does not match the events",
    .tags(.integration), .needsServers, .freshDatabase(eventStoreSchema), arguments: StoreKind.allCases)
  func snapshots(kind: StoreKind) async throws {
    let store = AnyStore(kind.make())
    let stream = Tally.stream("long")
    try await withProcessor(store) { processor in
      for _ in 0..<60 { _ = try await processor.execute(Count(ids: ["long"])) }
    }
    let kept = try #require(try await store.snapshots(of: [stream: 1])[stream])
    #expect(kept.version == Version(50))
    #expect(try await store.snapshots(of: [stream: 2]).isEmpty)
    // A snapshot with a wrong sum shows that snapshots are used. One whose event does not exist must be ignored.
    let lie = Snapshot(
      stream: stream, schemaVersion: 1, version: Version(55), position: Position(55),
      eventID: try #require(try await store.events(in: stream, after: Version(54), limit: 1).first?.id),
      state: Array(#"{"sum":1055}"#.utf8))
    try await store.save(lie)
    try await withProcessor(store) { processor in
      await #expect(throws: Rejection.self) { _ = try await processor.execute(Count(ids: ["long"], limit: 1000)) }
    }
    try await store.save(
      Snapshot(
        stream: stream, schemaVersion: 1, version: Version(58), position: Position(58), eventID: UUID(),
        state: Array(#"{"sum":5000}"#.utf8)))
    try await withProcessor(store) { processor in
      _ = try await processor.execute(Count(ids: ["long"], limit: 61))
    }
  }

  @Test(
    "a replica that floods a stream does not starve another's commands on it", .tags(.integration), .needsServers,
    .freshDatabase(eventStoreSchema))
  func fairness() async throws {
    let pools = (0..<2).map { _ in FreshDatabase.current.pool(.init(size: 4, acquireTimeout: .seconds(60))) }
    var limits = CommandProcessor<PostgresEventStore>.Limits()
    limits.attempts = 3
    try await withProcessor(PostgresEventStore(pools[0]), limits) { flooding in
      try await withProcessor(PostgresEventStore(pools[1]), limits) { other in
        try await withThrowingTaskGroup(of: Void.self) { group in
          for _ in 0..<32 {
            group.addTask {
              while !Task.isCancelled { _ = try await flooding.execute(Count(ids: ["hot"])) }
            }
          }
          for _ in 0..<100 { _ = try await other.execute(Count(ids: ["hot"])) }
          group.cancelAll()
          try await group.waitForAll()
        }
      }
    }
  }

  @Test(
    "Several processors on the same streams lose no update", .tags(.integration), .needsServers,
    .freshDatabase(eventStoreSchema), arguments: StoreKind.allCases)
  func replicas(kind: StoreKind) async throws {
    let store = AnyStore(kind.make())
    var limits = CommandProcessor<AnyStore>.Limits()
    limits.attempts = 1_000
    let tally = try await withProcessor(store, limits) { first in
      try await withProcessor(store, limits) { second in
        try await withThrowingTaskGroup(of: Void.self) { group in
          for n in 0..<200 {
            let processor = n % 2 == 0 ? first : second
            let ids = n % 5 == 0 ? ["x", "y"] : [n % 3 == 0 ? "x" : "y"]
            group.addTask { _ = try await processor.execute(Count(ids: ids)) }
          }
          try await group.waitForAll()
        }
        return try await first.execute(Count(ids: ["x", "y"], amount: 0))
      }
    }
    let expected = (0..<200).reduce(into: (x: Int64(0), y: Int64(0))) { sum, n in
      if n % 5 == 0 || n % 3 == 0 { sum.x += 1 }
      if n % 5 == 0 || n % 3 != 0 { sum.y += 1 }
    }
    #expect(tally.streams[Tally.stream("x")]?.version == Version(expected.x))
    #expect(tally.streams[Tally.stream("y")]?.version == Version(expected.y))
    let all = try await store.events(after: .start, limit: 1000)
    #expect(all.map(\.position.rawValue) == Array(1...(expected.x + expected.y)))
  }
}
