import EventSourcing
import Foundation
import JSON
import Logging
import Postgres
import PostgresEventStore
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

@testable import CommandProcessing

extension CommandProcessor {
  fileprivate var commandsWithoutAnswer: Int { unanswered.load(ordering: .relaxed) }
}

// Concurrent batches, and limits.
extension CommandProcessorTests {
  @Test("A second batch runs while the first hangs, without commands that depend on the first one's streams")
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
      // Each of these depends on the one before it; the last one depends on none.
      async let second = processor.execute(Count(ids: ["a", "b"]))
      async let third = processor.execute(Count(ids: ["b", "c"]))
      let free = try await processor.execute(Count(ids: ["d"]))
      #expect(free.streams[Tally.stream("d")]?.version == Version(1))
      release.continuation.yield()
      _ = try await (first, second, third)
    }
    #expect(await store.inner.head() == Position(6))
  }

  @Test("Halves of a refused batch run before later commands, and no stream is in two running batches")
  func refusedHalves() async throws {
    let store = GatedStore { $0.data == Array(#"{"amount":13}"#.utf8) }
    try await withProcessor(store) { processor in
      @Sendable func send(_ id: String, _ amount: Int64 = 1) async {
        _ = try? await processor.execute(Count(ids: [id], amount: amount))
      }
      // The streams are cached, so no command waits for a load.
      for id in ["a", "b", "x", "y", "z"] { await send(id, 0) }
      await store.close()
      // These two batches occupy both places until the other commands are queued.
      async let first: Void = send("x")
      try await eventually("it is under way") { await store.held == [["x"]] }
      async let second: Void = send("y")
      try await eventually("both are") { await store.held == [["x"], ["y"]] }
      async let good: Void = send("a")
      async let bad: Void = send("b", 13)
      try await eventually("both wait") { await processor.commandsWithoutAnswer == 4 }
      await store.letGo(of: "x")
      await store.letGo(of: "y")
      try await eventually("they go together") { await store.held == [["a", "b"]] }
      // This command waits for the streams that the refused batch may still write.
      async let later: Void = send("b", 2)
      try await eventually("it waits") { await processor.commandsWithoutAnswer == 3 }
      await store.letGo(of: "a")
      try await eventually("a half has begun") { await store.held.contains(["a"]) }
      // This makes the processor check for a free place.
      async let other: Void = send("z")
      try await eventually("it has looked") {
        let (held, unanswered) = (await store.held, await processor.commandsWithoutAnswer)
        return held.count == 2 && unanswered >= 3
      }
      await store.letGoOfAll()
      _ = await (first, second, good, bad, later, other)
      let asked = await store.asked
      let (half, next) = (#"b {"amount":13}"#, #"b {"amount":2}"#)
      #expect(try #require(asked.firstIndex(of: [half])) < #require(asked.firstIndex { $0.contains(next) }), "\(asked)")
    }
    #expect(await store.overlaps.isEmpty)
    #expect(await store.most <= BatchesUnderWay.limit)
  }

  @Test("A stream written by two batches is free only after both have ended")
  func writtenTwice() {
    var underWay = BatchesUnderWay()
    let stream = Tally.stream("a")
    underWay.begin(commands: 1, writing: [stream])
    underWay.begin(commands: 1, writing: [stream])
    underWay.end(commands: 1, writing: [stream])
    #expect(underWay.writes(stream))
    underWay.end(commands: 1, writing: [stream])
    #expect(!underWay.writes(stream))
  }

  @Test("A batch saves one snapshot of a stream, however many of its commands follow the one that made it due")
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

  @Test("A repeated key gets its stored response, even if its stream cannot be read any more")
  func unreadableRepeat() async throws {
    let store = FaultyStore()
    let request = CommandRequest.fresh()
    let told = try await withProcessor(store) { try await $0.response(Count(ids: ["a"]), request) }
    let alien = NewEvent(
      stream: Tally.stream("a"), id: .v7(), type: "Unheard", schemaVersion: 1, data: Array("{}".utf8), metadata: [])
    _ = await store.inner.append(AppendBatch(expectedVersions: [:], events: [alien]))
    try await withProcessor(store) { processor in
      let repeated = try await processor.response(Count(ids: ["a"]), request)
      #expect(repeated == told)
      await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
        if case .unreadable = $0 as? CommandError { true } else { false }
      }
    }
  }

  @Test("Endless conflicts end with an error that has the current version")
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

  @Test("An unreadable stream fails only its own commands, with the position of the event")
  func unreadable() async throws {
    let store = FaultyStore()
    let alien = NewEvent(
      stream: Tally.stream("a"), id: .v7(), type: "Unheard", schemaVersion: 1, data: Array("{}".utf8), metadata: [])
    _ = await store.inner.append(AppendBatch(expectedVersions: [:], events: [alien]))
    try await withProcessor(store) { processor in
      async let other = processor.execute(Count(ids: ["b"]))
      await #expect { _ = try await processor.execute(Count(ids: ["a"])) } throws: {
        if case .unreadable(.at(Position(1), _)) = $0 as? CommandError { true } else { false }
      }
      _ = try await other
    }
  }

  @Test("A full queue rejects new commands at once")
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

  @Test("Queued commands run at shutdown, and later ones are rejected")
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
