import CommandProcessing
import EventSourcing
import Foundation
import JSON
import Postgres
import PostgresEventStore
import ServiceLifecycle
import TestSupport
import Testing

@Suite("Command processor")
struct CommandProcessorTests {
  @Test("a receipt names the version and position of every stream")
  func receipts() async throws {
    try await withProcessor(InMemoryEventStore()) { processor in
      let first = try await processor.execute(Count(ids: ["a", "b"]))
      #expect(first.hasChanged)
      #expect(first.streams[Tally.stream("a")] == .init(version: Version(1), position: Position(1)))
      #expect(first.streams[Tally.stream("b")] == .init(version: Version(1), position: Position(2)))
      let nothing = try await processor.execute(Count(ids: ["a"], amount: 0))
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
          group.addTask { (try? await processor.execute(Count(ids: ["a"], limit: limit))) != nil }
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
      _ = try await processor.execute(Count(ids: ["a", "b", "c"]))
      // Another replica appends behind our back.
      await store.before { inner async in await add("a", 10, to: inner) }
      async let direct = processor.execute(Count(ids: ["a", "b"]))
      async let transitive = processor.execute(Count(ids: ["b", "c"]))
      async let unrelated = processor.execute(Count(ids: ["d"]))
      _ = try await (direct, transitive, unrelated)
      let after = try await processor.execute(Count(ids: ["a", "b", "c", "d"], amount: 0))
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
      _ = try await processor.execute(Count(ids: ["a"], amount: 10, limit: 10))
      await store.before { inner async in await add("a", -10, to: inner) }
      let receipt = try await processor.execute(Count(ids: ["a"], amount: 1, limit: 10))
      #expect(receipt.streams[Tally.stream("a")]?.version == Version(3))
      await #expect(throws: TallyRejection.wouldExceed(limit: 1)) {
        _ = try await processor.execute(Count(ids: ["a"], amount: 1, limit: 1))
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
              _ = try await processor.execute(Count(ids: ["t\(n)"], amount: n))
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

  @Test("a batch whose outcome is unknown is sent again, and its effect is found or made, once")
  func resending() async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      _ = try await processor.execute(Count(ids: ["a"]))
      // The append takes effect, and its answer is lost; then the store is away for a moment.
      await store.before { inner async throws(EventStoreError) in
        _ = await inner.append(await store.batches.last!)
        throw .outcomeUnknown("lost")
      }
      await store.before { _ async throws(EventStoreError) in throw .unavailable("away") }
      #expect(try await processor.answer(Count(ids: ["a"]), .fresh()) == "v2 true @2")
      // The append is lost before it takes effect.
      await store.before { _ async throws(EventStoreError) in throw .outcomeUnknown("lost") }
      #expect(try await processor.answer(Count(ids: ["a"]), .fresh()) == "v3 true @3")
    }
    #expect(await store.inner.head() == Position(3))
  }

  @Test("past the deadline an unknown outcome is said to be unknown, and the same key then tells the truth")
  func unknownOutcome() async throws {
    let store = FaultyStore()
    var limits = CommandProcessor<FaultyStore>.Limits()
    limits.resendPatience = .milliseconds(20)
    try await withProcessor(store, limits) { processor in
      let request = CommandRequest.fresh()
      await store.before { inner async throws(EventStoreError) in
        _ = await inner.append(await store.batches.last!)
        throw .outcomeUnknown("lost")
      }
      await #expect { _ = try await processor.answer(Count(ids: ["a"]), request) } throws: {
        if case .outcomeUnknown = $0 as? CommandError { true } else { false }
      }
      let told = try await processor.answer(Count(ids: ["a"]), request)
      #expect(told == "v1 true @1")
      await store.before { _ async throws(EventStoreError) in throw .unavailable("away") }
      await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
        if case .unavailable = $0 as? CommandError { true } else { false }
      }
    }
    #expect(await store.inner.head() == Position(1))
  }

  @Test("after a lost answer no other failure is taken for 'nothing was stored'")
  func lostThenRefused() async throws {
    let store = FaultyStore()
    var limits = CommandProcessor<FaultyStore>.Limits()
    limits.resendPatience = .milliseconds(500)
    let failures: [EventStoreError] = [.historyChanged("another timeline"), .refused("no"), .unavailable("away")]
    for (index, failure) in failures.enumerated() {
      try await withProcessor(store, limits) { processor in
        await store.before { inner async throws(EventStoreError) in
          _ = await inner.append(await store.batches.last!)
          throw .outcomeUnknown("lost")
        }
        await store.before { _ async throws(EventStoreError) in throw failure }
        let told = try await processor.answer(Count(ids: ["\(index)"]), .fresh())
        #expect(told == "v1 true @\(index + 1)")
      }
    }
    limits.resendPatience = .milliseconds(10)
    try await withProcessor(store, limits) { processor in
      await store.before { _ async throws(EventStoreError) in throw .outcomeUnknown("lost") }
      for _ in 0..<5 { await store.before { _ async throws(EventStoreError) in throw .historyChanged("moved") } }
      await #expect { _ = try await processor.execute(Count(ids: ["z"])) } throws: {
        if case .outcomeUnknown = $0 as? CommandError { true } else { false }
      }
    }
  }

  @Test("states larger than the cache do not keep a command from being decided")
  func tinyCache() async throws {
    let store = FaultyStore()
    for id in ["a", "b", "c"] { await add(id, 1, to: store.inner) }
    var limits = CommandProcessor<FaultyStore>.Limits()
    limits.cacheBytes = 1
    try await withProcessor(store, limits) { processor in
      _ = try await processor.execute(Count(ids: ["a"]))
      let receipt = try await processor.execute(Count(ids: ["a", "b", "c"]))
      #expect(receipt.streams[Tally.stream("a")]?.version == Version(3))
      #expect(receipt.streams[Tally.stream("c")]?.version == Version(2))
    }
  }

  @Test("a command that waits longer than its patience is refused while the batch before it still hangs")
  func impatience() async throws {
    let store = FaultyStore()
    let (entered, release) = (AsyncStream<Void>.makeStream(), AsyncStream<Void>.makeStream())
    await store.before { _ async in
      entered.continuation.yield()
      for await _ in release.stream { break }
    }
    var limits = CommandProcessor<FaultyStore>.Limits()
    limits.patience = .seconds(1)
    try await withProcessor(store, limits) { processor in
      let request = CommandRequest.fresh()
      let first = Task {
        defer { entered.continuation.finish() }
        return try await processor.answer(Count(ids: ["a"]), request)
      }
      for await _ in entered.stream { break }
      let follower = Task { try await processor.answer(Count(ids: ["a"]), request) }
      await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
        if case .overloaded = $0 as? CommandError { true } else { false }
      }
      // Of its key nobody can say yet that nothing is stored.
      await #expect { _ = try await follower.value } throws: {
        if case .outcomeUnknown = $0 as? CommandError { true } else { false }
      }
      release.continuation.yield()
      let answer = try await first.value
      #expect(answer == "v1 true @1")
    }
    #expect(await store.inner.head() == Position(1))
  }

  @Test("an append that is lost after longer than the resend patience is sent again all the same")
  func slowLoss() async throws {
    let store = FaultyStore()
    var limits = CommandProcessor<FaultyStore>.Limits()
    limits.resendPatience = .milliseconds(500)
    await store.before { _ async throws(EventStoreError) in
      try? await Task.sleep(for: .seconds(1))
      throw .outcomeUnknown("no answer in the time allowed")
    }
    try await withProcessor(store, limits) { processor in
      let answer = try await processor.answer(Count(ids: ["a"]), .fresh())
      #expect(answer == "v1 true @1")
    }
    #expect(await store.batches.count == 2)
  }

  @Test("what was lost before a restore is not said to be stored nowhere after it")
  func lossAndRestore() async throws {
    let store = FaultyStore()
    await store.before { _ async throws(EventStoreError) in throw .outcomeUnknown("lost") }
    await store.answerNext(.restored())
    await store.before { _ async throws(EventStoreError) in throw .unavailable("away") }
    try await withProcessor(store) { processor in
      await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
        if case .outcomeUnknown = $0 as? CommandError { true } else { false }
      }
      // Nobody else is concerned.
      let other = try await processor.answer(Count(ids: ["b"]), .fresh())
      #expect(other == "v1 true @1")
    }
  }

  @Test("a second batch follows one that hangs, without what waits for the first one's streams")
  func secondBatch() async throws {
    let store = FaultyStore()
    let (entered, release) = (AsyncStream<Void>.makeStream(), AsyncStream<Void>.makeStream())
    await store.before { _ async in
      entered.continuation.yield()
      for await _ in release.stream { break }
    }
    try await withProcessor(store) { processor in
      async let first = processor.execute(Count(ids: ["a"]))
      for await _ in entered.stream { break }
      // Each of these waits for the one before it; the last one for nothing.
      async let second = processor.execute(Count(ids: ["a", "b"]))
      async let third = processor.execute(Count(ids: ["b", "c"]))
      let free = try await processor.execute(Count(ids: ["d"]))
      #expect(free.streams[Tally.stream("d")]?.version == Version(1))
      release.continuation.yield()
      _ = try await (first, second, third)
    }
    #expect(await store.inner.head() == Position(6))
  }

  @Test("a batch makes one snapshot of a stream, however many of its commands came after the due one")
  func oneSnapshot() async throws {
    let store = FaultyStore()
    let (entered, release) = (AsyncStream<Void>.makeStream(), AsyncStream<Void>.makeStream())
    await store.before { _ async in
      entered.continuation.yield()
      for await _ in release.stream { break }
    }
    try await withProcessor(store) { processor in
      await withDiscardingTaskGroup { group in
        group.addTask { _ = try? await processor.execute(Count(ids: ["a"])) }
        for await _ in entered.stream { break }
        for _ in 0..<99 { group.addTask { _ = try? await processor.execute(Count(ids: ["a"])) } }
        _ = try? await processor.execute(Count(ids: ["b"]))
        release.continuation.yield()
      }
    }
    #expect(await store.inner.head() == Position(101))
    #expect((1...2).contains(await store.savedSnapshots))
  }

  @Test("a key that was answered is answered again, also once its stream cannot be read")
  func unreadableRepeat() async throws {
    let store = FaultyStore()
    let request = CommandRequest.fresh()
    let told = try await withProcessor(store) { try await $0.answer(Count(ids: ["a"]), request) }
    let alien = NewEvent(
      stream: Tally.stream("a"), id: .v7(), type: "Unheard", schemaVersion: 1, data: Array("{}".utf8), metadata: [])
    _ = await store.inner.append(AppendBatch(guards: [:], events: [alien]))
    try await withProcessor(store) { processor in
      let repeated = try await processor.answer(Count(ids: ["a"]), request)
      #expect(repeated == told)
      await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
        if case .unreadable = $0 as? CommandError { true } else { false }
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
      await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
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
      async let other = processor.execute(Count(ids: ["b"]))
      await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
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
    limits.queueSize = 4
    try await withProcessor(store, limits) { processor in
      await withTaskGroup(of: Bool.self) { group in
        group.addTask { (try? await processor.execute(Count(ids: ["a"]))) != nil }
        for await _ in entered.stream { break }
        for _ in 0..<10 {
          group.addTask {
            do { _ = try await processor.execute(Count(ids: ["a"])) } catch CommandError.overloaded {
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
      async let first = processor.execute(Count(ids: ["a"]))
      for await _ in entered.stream { break }
      async let second = processor.execute(Count(ids: ["a"]))
      await group.triggerGracefulShutdown()
      release.continuation.yield()
      _ = try await (first, second)
      try await tasks.waitForAll()
    }
    await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
      if case .stopping = $0 as? CommandError { true } else { false }
    }
  }

  @Test(
    "the same key is answered alike for ever, from any replica; another request with it is refused",
    .tags(.integration), .needsServers, .freshDatabase(eventStoreSchema), arguments: StoreKind.allCases)
  func idempotency(kind: StoreKind) async throws {
    let store = AnyStore(kind.make())
    let key = CommandRequest.fresh("k", body: "one")
    try await withProcessor(store) { first in
      try await withProcessor(store) { second in
        let answers = try await withThrowingTaskGroup(of: String.self) { group in
          for n in 0..<20 {
            group.addTask { try await (n % 2 == 0 ? first : second).answer(Count(ids: ["a"], amount: 5), key) }
          }
          return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect(answers == ["v1 true @1"])
        // Later, when the same command would be rejected.
        #expect(try await second.answer(Count(ids: ["a"], amount: 5, limit: 5), key) == "v1 true @1")
        await #expect { _ = try await first.answer(Count(ids: ["a"]), .fresh("k", body: "two")) } throws: {
          if case .keyReused("k") = $0 as? CommandError { true } else { false }
        }
        // A no-op is kept as well: when something has changed since, it is answered as it was.
        let nothing = CommandRequest.fresh("n")
        #expect(try await first.answer(Count(ids: ["a"], amount: 0), nothing) == "v1 false @1")
        _ = try await second.execute(Count(ids: ["a"]))
        #expect(try await second.answer(Count(ids: ["a"], amount: 0), nothing) == "v1 false @1")
      }
    }
    #expect(try await store.events(in: Tally.stream("a"), after: .none, limit: 10).count == 2)
    #expect(try await store.head() == Position(2))
  }

  @Test("a rejection is not kept: the same key is decided again")
  func rejectionsAreDecidedAgain() async throws {
    try await withProcessor(InMemoryEventStore()) { processor in
      let request = CommandRequest.fresh("r")
      await #expect(throws: TallyRejection.self) {
        _ = try await processor.answer(Count(ids: ["a"], amount: 2, limit: 1), request)
      }
      _ = try await processor.execute(Count(ids: ["a"], amount: -1))
      #expect(try await processor.answer(Count(ids: ["a"], amount: 2, limit: 1), request) == "v2 true @2")
    }
  }

  @Test("a success repeated inside one batch is answered as the first time, and its neighbours are carried out")
  func repeatInBatch() async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      let known = CommandRequest.fresh("known")
      #expect(try await processor.answer(Count(ids: ["a"]), known) == "v1 true @1")
      let (entered, release) = (AsyncStream<Void>.makeStream(), AsyncStream<Void>.makeStream())
      await store.before { _ async in
        entered.continuation.yield()
        for await _ in release.stream { break }
      }
      async let held = processor.execute(Count(ids: ["x"]))
      for await _ in entered.stream { break }
      // These wait for one batch: the repeat would count again, and the next reads what it left.
      async let again = processor.answer(Count(ids: ["a"]), known)
      async let neighbour = processor.execute(Count(ids: ["a", "b"]))
      async let both = [
        processor.answer(Count(ids: ["c"]), .fresh("twice")), processor.answer(Count(ids: ["c"]), .fresh("twice")),
      ]
      try await Task.sleep(for: .milliseconds(50))
      release.continuation.yield()
      _ = try await held
      #expect(try await again == "v1 true @1")
      #expect(try await neighbour.streams[Tally.stream("a")]?.version == Version(2))
      let answers = try await both
      #expect(answers[0] == answers[1])
      #expect(
        try await processor.execute(Count(ids: ["c"], amount: 0)).streams[Tally.stream("c")]?.version == Version(1))
    }
  }

  @Test("a command with expected versions is carried out at these alone")
  func preconditions() async throws {
    try await withProcessor(InMemoryEventStore()) { processor in
      _ = try await processor.execute(Count(ids: ["a"]))
      #expect(try await processor.answer(Count(ids: ["a"]), .fresh(expecting: [Version(1)])) == "v2 true @2")
      await #expect {
        _ = try await processor.answer(Count(ids: ["a"]), .fresh(expecting: [Version(1), Version(3)]))
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
    "a long stream is loaded through its snapshot, which is never trusted over the events",
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
    // A snapshot that lies, to see that it is used; and one of events that are not there, which is not.
    let lie = Snapshot(
      stream: stream, schemaVersion: 1, version: Version(55), position: Position(55),
      eventID: try #require(try await store.events(in: stream, after: Version(54), limit: 1).first?.id),
      state: Array(#"{"sum":1055}"#.utf8))
    try await store.save(lie)
    try await withProcessor(store) { processor in
      await #expect(throws: TallyRejection.self) { _ = try await processor.execute(Count(ids: ["long"], limit: 1000)) }
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
