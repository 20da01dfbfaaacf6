import EventSourcing
import Foundation
import JSON
import Postgres
import PostgresEventStore
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

@testable import CommandProcessing

// Batches beside one another, and bounds.
extension CommandProcessorTests {
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

  private func unanswered(_ processor: isolated CommandProcessor<FaultyStore>) -> Int {
    processor.unanswered.load(ordering: .relaxed)
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
      try await eventually("both wait") { await unanswered(processor) == 2 }
      await group.triggerGracefulShutdown()
      release.continuation.yield()
      _ = try await (first, second)
      try await tasks.waitForAll()
    }
    await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
      if case .stopping = $0 as? CommandError { true } else { false }
    }
  }
}
