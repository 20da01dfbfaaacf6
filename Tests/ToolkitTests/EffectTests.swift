import CoreMetrics
import CounterflowTesting
import EventSourcing
import Foundation
import MetricsTestKit
import Postgres
import PostgresEventStore
import Projections
import Reactions
import ServiceLifecycle
import TestSupport
import Testing

/// Tells two others of each report.
private struct TellingTwo: Effect {
  struct Call: Equatable { var number: Int, isFirst: Bool }

  let name = "telling-two"
  var limits = Telling.quick
  var slots = ["first", "second"]
  var performing: @Sendable (Call, EffectContext) async throws -> Void = { _, _ in }

  var triggers: [EffectTrigger<Call>] {
    [
      EffectTrigger(Job.self) { [slots] event, calls in
        guard case .reported(let number) = event.event else { return }
        for slot in slots { calls.make(Call(number: number, isFirst: slot == slots[0]), slot: slot) }
      }
    ]
  }

  func perform(_ call: Call, _ context: EffectContext) async throws { try await performing(call, context) }
}

@Suite("Effects", .tags(.integration), .needsServers)
struct EffectTests {
  @Test(
    "Two reactors with no more rights than they need make each call once, in order, and record it",
    .freshDatabase(eventStoreSchema, personalSchema, reactionEngineSchema))
  func once() async throws {
    let (reactors, recipient, metrics) = (Reactors.restricted, Recipient(), TestMetrics())
    let jobs = (0..<10).map { "\($0)" }
    let services = withMetricsFactory(metrics) { reactors.services(Telling(recipient: recipient)) }
    try await withServices(services) {
      try await reactors.begun("telling")
      try await withServices(reactors.services(Telling(recipient: recipient))) {
        let owner = Reactors()
        for number in 0..<5 { try await owner.append(jobs.map { (.reported(number: number), $0) }) }
        try await eventually("the recipient has every call") { recipient.keys.count == 50 }
      }
    }
    for job in jobs {
      #expect(recipient.numbers(job) == [0, 1, 2, 3, 4])
      #expect(try await reactors.outcomes(job) == Array(repeating: "succeeded", count: 5))
    }
    let keys = try await reactors.pool.query("select id from event_store.events").decode(UUID.self)
      .map { "reaction/telling/\($0.uuidString.lowercased())" }
    #expect(Set(recipient.keys) == Set(keys) && recipient.keys.count == keys.count)
    #expect(metrics.counterTotal(label: "effect_attempts_total") > 0)
    #expect(metrics.timers(label: "effect_attempt_seconds").contains { !$0.values.isEmpty })
    try await AttemptForgetting(reactors.pool, olderThan: .seconds(3600), logger: .quiet).forget()
    #expect(try await reactors.outcomes("0").count == 5)
    try await AttemptForgetting(reactors.pool, olderThan: .zero, logger: .quiet).forget()
    #expect(try await reactors.outcomes("0").isEmpty)
  }

  @Test(
    "A call that fails is tried again, and all other streams go on meanwhile",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func retries() async throws {
    let (reactors, repaired) = (Reactors(), Toggle())
    let recipient = Recipient { call in
      if call == Telling.Call(job: "a", number: 1), !repaired.isOn { throw Unreachable() }
    }
    let telling = Telling(limits: Telling.limited { $0.attempts = 1_000 }, recipient: recipient)
    let metrics = TestMetrics()
    try await withServices(reactors.services(telling), metrics) {
      try await reactors.begun("telling")
      let others = (0..<20).map { "other-\($0)" }
      for number in 0..<3 {
        try await reactors.append((["a"] + others).map { (.reported(number: number), $0) })
      }
      try await eventually("the others are told everything") { recipient.keys.count == 61 }
      try await eventually("it is tried again and again") { try await reactors.outcomes("a").count > 5 }
      #expect(recipient.numbers("a") == [0])
      let parked = try await reactors.parked()
      #expect(parked.map(\.stream) == [Job.stream("a")])
      #expect(parked.allSatisfy { $0.retryAt != nil || $0.request != nil })
      func last(_ label: String) -> Double { metrics.recorders(label: label).compactMap(\.lastValue).reduce(0, +) }
      try await eventually("it is counted") { last("projection_streams_retrying") == 1 }
      #expect(last("projection_streams_parked") == 0)
      repaired.turnOn()
      try await eventually("it goes on") { recipient.numbers("a") == [0, 1, 2] }
      try await eventually("nothing waits") { try await reactors.parked().isEmpty }
    }
    #expect(try await reactors.outcomes("a").filter { $0 == "succeeded" }.count == 3)
    #expect(Set(recipient.keys).count == 63 && recipient.keys.count == 63)
  }

  @Test(
    "After the last attempt the stream waits for a person; retried, each waiting event is handled once, in order",
    .freshDatabase(eventStoreSchema, reactionEngineSchema), arguments: [false, true])
  func parking(isPermanent: Bool) async throws {
    let (reactors, repaired) = (Reactors(), Toggle())
    let recipient = Recipient { call in
      guard call == Telling.Call(job: "a", number: 1), !repaired.isOn else { return }
      throw isPermanent ? PermanentFailure("no such address") : Unreachable()
    }
    let expected = isPermanent ? ["gave up"] : ["failed", "failed", "gave up"]
    try await withServices(
      reactors.services(Telling(limits: Telling.limited { $0.attempts = 3 }, recipient: recipient))
    ) {
      try await reactors.begun("telling")
      try await reactors.append((0..<10).map { (.reported(number: $0 / 2), $0 % 2 == 0 ? "a" : "b") })
      try await eventually("it waits for a person") {
        try await reactors.parked().contains { $0.retryAt == nil && $0.request == nil }
      }
      try await eventually("the other stream is done") { recipient.numbers("b") == [0, 1, 2, 3, 4] }
      #expect(recipient.numbers("a") == [0])
      #expect(try await reactors.outcomes("a") == ["succeeded"] + expected)
      let event = try #require(try await reactors.store.events(in: Job.stream("a"), after: Version(1), limit: 1).first)
      let attempts = try await EffectAttempts.all(of: event.id, in: "reaction/telling", reactors.pool)
      #expect(attempts.map { $0.outcome ?? "" } == expected && attempts.map(\.number) == Array(1...expected.count))
      #expect(attempts.allSatisfy { $0.error != nil })
      // A person gives it as many attempts again.
      #expect(try await ParkedStreams(reactors.pool).retry("reaction/telling", "job-a") == 1)
      try await eventually("it has been tried again") {
        try await reactors.outcomes("a") == ["succeeded"] + expected + expected
      }
      try await eventually("it waits again") {
        try await reactors.parked().contains { $0.retryAt == nil && $0.request == nil }
      }
      repaired.turnOn()
      #expect(try await ParkedStreams(reactors.pool).retry("reaction/telling", "job-a") == 1)
      try await eventually("nothing waits") { try await reactors.parked().isEmpty }
    }
    #expect(recipient.numbers("a") == [0, 1, 2, 3, 4])
    #expect(Set(recipient.keys).count == 10 && recipient.keys.count == 10)
    #expect(try await reactors.verified())
  }

  @Test(
    "Calls of one event have keys of their own, and one that failed repeats no other",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func slots() async throws {
    let (reactors, recipient) = (Reactors(), Recipient { if $0.job == "false", $0.number == 0 { throw Unreachable() } })
    let telling = TellingTwo { call, context in
      try await recipient.take(
        Telling.Call(job: "\(call.isFirst)", number: context.attempt < 3 ? call.number : call.number + 10),
        idempotencyKey: context.key)
    }
    try await withServices(reactors.services(telling)) {
      try await reactors.begun("telling-two")
      try await reactors.append([(.reported(number: 0), "a"), (.reported(number: 1), "a")])
      try await eventually("both are told everything") { recipient.keys.count == 4 }
    }
    #expect(recipient.numbers("true") == [0, 1] && recipient.numbers("false") == [10, 1])
    #expect(recipient.keys.map { $0.hasSuffix("/first") } == [true, false, true, false])
  }

  @Test("Which calls follow from an event is pure: a test asks for them without making any")
  func given() throws {
    let telling = Telling(recipient: Recipient { _ in throw Unreachable() })
    let reported = try CounterflowTesting.given(Job.self, id: "a", .reported(number: 1))
    try reported.on(telling).thenCalls(Telling.Call(job: "a", number: 1))
    try reported.and(Job.self, id: "a", .ended).on(telling).thenCalls()
    #expect(throws: Mismatch.self) { try reported.on(telling).thenCalls() }
    #expect(throws: Mismatch.self) { try givenNothing().on(telling) }
    #expect(try reported.on(TellingTwo()).all.map(\.slot) == ["first", "second"])
    for slots in [["twice", "twice"], [String(repeating: "s", count: 101)]] {
      #expect(throws: (any Error).self) { try reported.on(TellingTwo(slots: slots)) }
    }
  }

  @Test("Limits that cannot be kept are refused before anything runs")
  func limits() {
    let wrong: [@Sendable (inout EffectLimits) -> Void] = [
      { $0.concurrency = 0 }, { $0.attempts = 0 }, { $0.rate = 0 }, { $0.timeLimit = .zero },
      { $0.longestDelay = .milliseconds(1) },
    ]
    for change in wrong {
      let telling = Telling(limits: Telling.limited(change), recipient: Recipient())
      #expect(ReactionDefinition.problem(with: [telling.definition]) != nil)
    }
    #expect(ReactionDefinition.problem(with: [Telling(recipient: Recipient()).definition]) == nil)
  }
}

extension Reactors {
  /// Whether the ledger of `Telling` has every event.
  fileprivate func verified() async throws -> Bool {
    let generation = try #require(try await Generations(pool).all(of: ["reaction/telling"]).first)
    let result = try await Verification.verify(
      Telling(recipient: Recipient()).definition.projection { _, _ in [] }, generation,
      on: try await FreshDatabase.current.connect(), store, partitions: nil)
    return result.holds && result.events == 10
  }
}
