import CommandProcessing
import EventSourcing
import Foundation
import JSON
import PostgresEventStore
import ServiceLifecycle
import TestSupport
import Testing

@Suite("Command processor")
struct CommandProcessorTests {
  @Test("a receipt names the version and position of every stream")
  func receipts() async throws {
    try await withProcessor(InMemoryEventStore()) { processor in
      let first = try await processor.execute(Count(ids: ["a", "b"]), metadata: metadata)
      #expect(first.hasChanged)
      #expect(first.streams[Tally.stream("a")] == .init(version: Version(1), position: Position(1)))
      #expect(first.streams[Tally.stream("b")] == .init(version: Version(1), position: Position(2)))
      let nothing = try await processor.execute(Count(ids: ["a"], amount: 0), metadata: metadata)
      #expect(!nothing.hasChanged)
      #expect(nothing.streams[Tally.stream("a")] == .init(version: Version(1), position: Position(1)))
    }
  }

  @Test("commands that arrive while a batch commits go together in the next, and see one another")
  func batches() async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      let limit: Int64 = 30
      let outcomes = await withTaskGroup(of: Bool.self) { group in
        for _ in 0..<50 {
          group.addTask { (try? await processor.execute(Count(ids: ["a"], limit: limit), metadata: metadata)) != nil }
        }
        return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
      }
      #expect(outcomes == 30)
    }
    #expect(await store.inner.head() == Position(30))
    #expect(await store.batches.count < 50)
  }

  @Test("a command decided on stale state is decided again, and so is what followed from it")
  func staleness() async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      _ = try await processor.execute(Count(ids: ["a", "b", "c"]), metadata: metadata)
      // Another replica appends behind our back.
      await store.before { inner async in await add("a", 10, to: inner) }
      async let direct = processor.execute(Count(ids: ["a", "b"]), metadata: metadata)
      async let transitive = processor.execute(Count(ids: ["b", "c"]), metadata: metadata)
      async let unrelated = processor.execute(Count(ids: ["d"]), metadata: metadata)
      _ = try await (direct, transitive, unrelated)
      let after = try await processor.execute(Count(ids: ["a", "b", "c", "d"], amount: 0), metadata: metadata)
      #expect(after.streams[Tally.stream("a")]?.version == Version(3))
      #expect(after.streams[Tally.stream("b")]?.version == Version(3))
      #expect(after.streams[Tally.stream("c")]?.version == Version(2))
      #expect(after.streams[Tally.stream("d")]?.version == Version(1))
    }
  }

  @Test("a rejection on a stale cache is not believed")
  func staleRejection() async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      _ = try await processor.execute(Count(ids: ["a"], amount: 10, limit: 10), metadata: metadata)
      await store.before { inner async in await add("a", -10, to: inner) }
      let receipt = try await processor.execute(Count(ids: ["a"], amount: 1, limit: 10), metadata: metadata)
      #expect(receipt.streams[Tally.stream("a")]?.version == Version(3))
      await #expect(throws: TallyRejection.wouldExceed(limit: 1)) {
        _ = try await processor.execute(Count(ids: ["a"], amount: 1, limit: 1), metadata: metadata)
      }
    }
  }

  @Test("one value that the store refuses fails its command alone")
  func poison() async throws {
    let store = FaultyStore { String(decoding: $0.data, as: UTF8.self).contains("13") }
    try await withProcessor(store) { processor in
      let outcomes = await withTaskGroup(of: (Int64, Bool).self) { group in
        for n in Int64(10)..<20 {
          group.addTask {
            do {
              _ = try await processor.execute(Count(ids: ["t\(n)"], amount: n), metadata: metadata)
            } catch CommandError.refused {
              return (n, false)
            } catch { return (-n, false) }
            return (n, true)
          }
        }
        return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
      }
      #expect(outcomes == Dictionary(uniqueKeysWithValues: (Int64(10)..<20).map { ($0, $0 != 13) }))
    }
  }

  @Test("an unknown outcome is said to be unknown, and the next command finds the truth")
  func unknownOutcome() async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      _ = try await processor.execute(Count(ids: ["a"]), metadata: metadata)
      // The append takes effect, and its answer is lost.
      await store.before { inner async throws(EventStoreError) in
        await add("a", 1, to: inner)
        throw .outcomeUnknown("lost")
      }
      await #expect { _ = try await processor.execute(Count(ids: ["a"]), metadata: metadata) } throws: {
        if case .outcomeUnknown = $0 as? CommandError { true } else { false }
      }
      let receipt = try await processor.execute(Count(ids: ["a"]), metadata: metadata)
      #expect(receipt.streams[Tally.stream("a")]?.version == Version(3))
      await store.before { _ async throws(EventStoreError) in throw .unavailable("away") }
      await #expect { _ = try await processor.execute(Count(ids: ["a"]), metadata: metadata) } throws: {
        if case .unavailable = $0 as? CommandError { true } else { false }
      }
    }
  }

  @Test("endless conflicts end, with the current version")
  func endlessConflicts() async throws {
    let store = FaultyStore()
    for _ in 0..<20 { await store.before { inner async in await add("a", 1, to: inner) } }
    var limits = CommandProcessor<FaultyStore>.Limits()
    limits.attempts = 3
    try await withProcessor(store, limits) { processor in
      await #expect { _ = try await processor.execute(Count(ids: ["a"]), metadata: metadata) } throws: {
        if case .conflict(Tally.stream("a"), current: Version(3)) = $0 as? CommandError { true } else { false }
      }
    }
  }

  @Test("a stream that this build cannot read fails its commands alone, with the position")
  func unreadable() async throws {
    let store = FaultyStore()
    let alien = NewEvent(
      stream: Tally.stream("a"), id: .v7(), type: "Unheard", schemaVersion: 1, data: Array("{}".utf8), metadata: [])
    _ = await store.inner.append(AppendBatch(guards: [:], events: [alien]))
    try await withProcessor(store) { processor in
      async let other = processor.execute(Count(ids: ["b"]), metadata: metadata)
      await #expect { _ = try await processor.execute(Count(ids: ["a"]), metadata: metadata) } throws: {
        if case .unreadable(.at(Position(1), _)) = $0 as? CommandError { true } else { false }
      }
      _ = try await other
    }
  }

  @Test("beyond its queue the processor refuses at once, and memory stays bounded")
  func overload() async throws {
    let store = FaultyStore()
    let (entered, release) = (AsyncStream<Void>.makeStream(), AsyncStream<Void>.makeStream())
    await store.before { _ async in
      entered.continuation.yield()
      for await _ in release.stream { break }
    }
    var limits = CommandProcessor<FaultyStore>.Limits()
    limits.queueSize = 3
    try await withProcessor(store, limits) { processor in
      await withTaskGroup(of: Bool.self) { group in
        group.addTask { (try? await processor.execute(Count(ids: ["a"]), metadata: metadata)) != nil }
        for await _ in entered.stream { break }
        for _ in 0..<10 {
          group.addTask {
            do { _ = try await processor.execute(Count(ids: ["a"]), metadata: metadata) } catch CommandError.overloaded
            {
              return false
            } catch { Issue.record(error) }
            return true
          }
        }
        var refused = 0
        while refused < 7, let accepted = await group.next() { refused += accepted ? 0 : 1 }
        release.continuation.yield()
        var accepted = 0
        for await outcome in group { accepted += outcome ? 1 : 0 }
        #expect(accepted == 4)
      }
    }
  }

  @Test("commands that wait at shutdown are carried out; later ones are refused")
  func shutdown() async throws {
    let store = FaultyStore()
    let processor = CommandProcessor(store, logger: .quiet)
    let group = ServiceGroup(services: [processor], logger: .quiet)
    let (entered, release) = (AsyncStream<Void>.makeStream(), AsyncStream<Void>.makeStream())
    await store.before { _ async in
      entered.continuation.yield()
      for await _ in release.stream { break }
    }
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask { try await group.run() }
      async let first = processor.execute(Count(ids: ["a"]), metadata: metadata)
      for await _ in entered.stream { break }
      async let second = processor.execute(Count(ids: ["a"]), metadata: metadata)
      await group.triggerGracefulShutdown()
      release.continuation.yield()
      _ = try await (first, second)
      try await tasks.waitForAll()
    }
    await #expect { _ = try await processor.execute(Count(ids: ["a"]), metadata: metadata) } throws: {
      if case .stopping = $0 as? CommandError { true } else { false }
    }
  }

  @Test(
    "several processors on the same streams lose no update", .tags(.integration), .needsServers,
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
            group.addTask { _ = try await processor.execute(Count(ids: ids), metadata: metadata) }
          }
          try await group.waitForAll()
        }
        return try await first.execute(Count(ids: ["x", "y"], amount: 0), metadata: metadata)
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
