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
  @Test("A receipt names the version and position of every stream")
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

  @Test("Commands that arrive during a commit form the next batch, and each sees those before it")
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

  @Test("A command decided on stale state is decided again, with all commands that depend on it")
  func staleness() async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      _ = try await processor.execute(Count(ids: ["a", "b", "c"]))
      // Another replica appends in between.
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

  @Test("A rejection on stale state is decided again on current state")
  func staleRejection() async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      _ = try await processor.execute(Count(ids: ["a"], amount: 10, limit: 10))
      await store.before { inner async in await add("a", -10, to: inner) }
      let receipt = try await processor.execute(Count(ids: ["a"], amount: 1, limit: 10))
      #expect(receipt.streams[Tally.stream("a")]?.version == Version(3))
      await #expect(throws: Rejection.wouldExceed(limit: 1)) {
        _ = try await processor.execute(Count(ids: ["a"], amount: 1, limit: 1))
      }
    }
  }

  @Test("A value that the store refuses fails only its own command")
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

  @Test("A batch with an unknown outcome is sent again and takes effect exactly once")
  func resending() async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      _ = try await processor.execute(Count(ids: ["a"]))
      // The append takes effect, but its response is lost, and then the store is briefly unavailable.
      await store.before { inner async throws(EventStoreError) in
        _ = await inner.append(await store.batches.last!)
        throw .outcomeUnknown("lost")
      }
      await store.before { _ async throws(EventStoreError) in throw .unavailable("away") }
      #expect(try await processor.response(Count(ids: ["a"]), .fresh()) == "v2 true @2")
      // The append is lost before it takes effect.
      await store.before { _ async throws(EventStoreError) in throw .outcomeUnknown("lost") }
      #expect(try await processor.response(Count(ids: ["a"]), .fresh()) == "v3 true @3")
    }
    #expect(await store.inner.head() == Position(3))
  }

  @Test("After the deadline the outcome is reported as unknown, and repeating the key gives the response")
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
      await #expect { _ = try await processor.response(Count(ids: ["a"]), request) } throws: {
        if case .outcomeUnknown = $0 as? CommandError { true } else { false }
      }
      let told = try await processor.response(Count(ids: ["a"]), request)
      #expect(told == "v1 true @1")
      await store.before { _ async throws(EventStoreError) in throw .unavailable("away") }
      await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
        if case .unavailable = $0 as? CommandError { true } else { false }
      }
    }
    #expect(await store.inner.head() == Position(1))
  }

  @Test("After a lost response, no other failure is reported as 'nothing was stored'")
  func lostThenRefused() async throws {
    let store = FaultyStore()
    var limits = CommandProcessor<FaultyStore>.Limits()
    limits.resendPatience = .seconds(60)
    let failures: [EventStoreError] = [.historyChanged("another timeline"), .refused("no"), .unavailable("away")]
    for (index, failure) in failures.enumerated() {
      try await withProcessor(store, limits) { processor in
        await store.before { inner async throws(EventStoreError) in
          _ = await inner.append(await store.batches.last!)
          throw .outcomeUnknown("lost")
        }
        await store.before { _ async throws(EventStoreError) in throw failure }
        let told = try await processor.response(Count(ids: ["\(index)"]), .fresh())
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

  @Test("Commands work with states that are larger than the cache")
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

  @Test("A command that waits longer than its patience is rejected while the batch before it hangs")
  func impatience() async throws {
    let store = FaultyStore()
    let (entered, release) = (AsyncStream<Void>.makeStream(), AsyncStream<Void>.makeStream())
    await store.before { _ async in
      entered.continuation.yield()
      for await _ in release.stream { break }
    }
    var limits = CommandProcessor<FaultyStore>.Limits()
    limits.patience = .seconds(2)
    try await withProcessor(store, limits) { processor in
      let request = CommandRequest.fresh()
      let first = Task {
        defer {
          entered.continuation.finish()
          release.continuation.finish()
        }
        return try await processor.response(Count(ids: ["a"]), request)
      }
      for await _ in entered.stream { break }
      let follower = Task { try await processor.response(Count(ids: ["a"]), request) }
      await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
        if case .overloaded = $0 as? CommandError { true } else { false }
      }
      // The hanging batch may still store this key, so its outcome is unknown.
      await #expect { _ = try await follower.value } throws: {
        if case .outcomeUnknown = $0 as? CommandError { true } else { false }
      }
      release.continuation.yield()
      let response = try await first.value
      #expect(response == "v1 true @1")
    }
    #expect(await store.inner.head() == Position(1))
  }

  @Test("An append that is lost after more than the resend patience is still sent again")
  func slowLoss() async throws {
    let store = FaultyStore()
    var limits = CommandProcessor<FaultyStore>.Limits()
    limits.resendPatience = .milliseconds(500)
    await store.before { _ async throws(EventStoreError) in
      try? await Task.sleep(for: .seconds(1))
      throw .outcomeUnknown("no response in the time allowed")
    }
    try await withProcessor(store, limits) { processor in
      let response = try await processor.response(Count(ids: ["a"]), .fresh())
      #expect(response == "v1 true @1")
    }
    #expect(await store.batches.count == 2)
  }

  @Test("An append lost before a restore keeps its unknown outcome after the restore")
  func lossAndRestore() async throws {
    let store = FaultyStore()
    await store.before { _ async throws(EventStoreError) in throw .outcomeUnknown("lost") }
    await store.answerNext(.restored())
    await store.before { _ async throws(EventStoreError) in throw .unavailable("away") }
    try await withProcessor(store) { processor in
      await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
        if case .outcomeUnknown = $0 as? CommandError { true } else { false }
      }
      // Other commands are not affected.
      let other = try await processor.response(Count(ids: ["b"]), .fresh())
      #expect(other == "v1 true @1")
    }
  }

  @Test("What follows from an event is carried out in the event's history only")
  func causeInAnotherHistory() async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      for history in [UUID(), await store.inner.historyID()] {
        let request = CommandRequest(
          key: IdempotencyKey(scope: "test", key: "a"), fingerprint: UUID(),
          metadata: EventMetadata(correlationID: "a", causationID: "a"), historyID: history)
        if history == (await store.inner.historyID()) {
          _ = try await processor.execute(Count(ids: ["a"]), request, response: spellOut)
        } else {
          await #expect {
            _ = try await processor.execute(Count(ids: ["a"]), request, response: spellOut)
          } throws: {
            if case .historyChanged = $0 as? CommandError { true } else { false }
          }
          #expect(await store.inner.head() == .start)
        }
      }
    }
    #expect(await store.inner.head() == Position(1))
  }
}
