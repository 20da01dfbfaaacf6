import CommandProcessing
import EventSourcing
import TestSupport
import Testing

/// A command with a programming mistake.
struct Mistaken: Command {
  enum Mistake: CaseIterable, Sendable { case reads, emits, usesAnotherAggregate, namesNone, isUnwritable }

  let mistake: Mistake

  var streams: [AggregateReference] { mistake == .namesNone ? [] : [AggregateReference(Tally.self, "own")] }

  func decide(_ decision: inout Decision) throws(Rejection) {
    decision.emit(Counted(amount: 1), to: Tally.self, "own")
    switch mistake {
    case .reads: guard decision.state(Tally.self, "other").sum > 0 else { throw .wouldExceed(limit: 0) }
    case .emits: decision.emit(Counted(amount: 1), to: Tally.self, "other")
    case .usesAnotherAggregate: _ = decision.state(OtherTally.self, "own")
    case .namesNone: break
    case .isUnwritable: decision.emit(Counted(amount: Counted.unwritable), to: Tally.self, "own")
    }
  }
}

struct OtherTally: Aggregate {
  static let category = "tally"
  mutating func apply(_ event: Counted) {}
}

extension CommandProcessorTests {
  @Test(
    "A command that uses an undeclared stream or emits an unwritable event fails alone, and is logged",
    arguments: Mistaken.Mistake.allCases)
  func misuse(mistake: Mistaken.Mistake) async throws {
    let store = FaultyStore()
    let recorder = LogRecorder()
    try await withProcessor(store, logger: recorder.logger) { processor in
      // While the first command runs, the others gather in one batch.
      let gate = Gate()
      await store.before { _ async throws(EventStoreError) in await gate.wait() }
      async let first = processor.execute(Count(ids: ["a"]))
      try await eventually("the first is under way") { await store.batches.count == 1 }
      async let before = processor.execute(Count(ids: ["own"]))
      let wrong = Task { try await processor.execute(Mistaken(mistake: mistake)) }
      async let after = processor.execute(Count(ids: ["own"]))
      gate.open()
      _ = try await (first, before, after)
      await #expect { _ = try await wrong.value } throws: {
        if case .defect = $0 as? CommandError { true } else { false }
      }
      #expect(await store.inner.events(in: Tally.stream("own"), after: .none, limit: 9).count == 2)
      #expect(await store.inner.events(in: Tally.stream("other"), after: .none, limit: 9).isEmpty)
    }
    let lines = recorder.lines.filter { $0.contains("Mistaken") }
    #expect(lines.count == 1)
    switch mistake {
    case .reads, .emits: #expect(lines[0].contains("tally-other"))
    case .usesAnotherAggregate: #expect(lines[0].contains("tally-own"))
    case .isUnwritable: #expect(lines[0].contains("Unwritable"))
    case .namesNone: break
    }
  }
}

extension CommandProcessorTests {
  @Test(
    "An invalid id is rejected, and nothing is stored",
    arguments: [
      "", "a\nb", "\u{1}", String(repeating: "x", count: 250),
    ])
  func invalidID(id: String) async throws {
    let store = FaultyStore()
    try await withProcessor(store) { processor in
      await #expect { _ = try await processor.execute(Count(ids: ["a", id])) } throws: {
        ($0 as? Rejection)?.code == "invalid-id"
      }
      let fine = try await processor.execute(Count(ids: ["a"]))
      #expect(fine.hasChanged)
    }
    #expect(await store.inner.head() == Position(1))
  }
}
