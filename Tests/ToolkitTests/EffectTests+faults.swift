import CommandProcessing
import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import Projections
import Reactions
import ServiceLifecycle
import TestSupport
import Testing

/// Reads what a call may read besides its own value.
private struct Reading: Effect {
  struct Call: Equatable { var job: String }

  let name = "reading"
  let limits = Telling.quick
  let reading: @Sendable (Call, EffectContext) async throws -> Void

  var triggers: [EffectTrigger<Call>] { [EffectTrigger(Job.self) { $1.make(Call(job: $0.id)) }] }
  func perform(_ call: Call, _ context: EffectContext) async throws { try await reading(call, context) }
}

extension EffectTests {
  /// Jobs whose streams are in the partition of another one's.
  func streams(_ count: Int, besides job: String) -> [String] {
    let partition = Partitioning.standard.partition(of: Job.stream(job))
    return Array((0...).lazy.map { "b\($0)" }.filter { partition.contains(Job.stream($0)) }.prefix(count))
  }

  @Test(
    "A call whose process ends is made again with the same key; one that is on record is not, though its checkpoint is lost",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func killed() async throws {
    let (reactors, gate) = (Reactors(), Gate())
    let first = Recipient { if $0.job == "a" { await gate.wait() } }
    // As after SIGTERM when the time for an orderly end is over.
    let services = reactors.services(Telling(recipient: first))
    let process = Task { try await ServiceGroup(services: services, logger: .quiet).run() }
    try await reactors.begun("telling")
    try await reactors.append([(.reported(number: 0), "a"), (.reported(number: 0), "b")])
    try await eventually("one call is made, and the other has begun") {
      first.keys.count == 1 && first.running == 1
    }
    try await eventually("it is on record") { try await reactors.outcomes("b") == ["succeeded"] }
    process.cancel()
    _ = await process.result
    #expect(try await reactors.outcomes("a") == ["interrupted"])
    let last = Recipient()
    try await withServices(reactors.services(Telling(recipient: last))) {
      try await eventually("the call is made again") { last.keys.count == 1 }
      try await eventually("nothing waits") { try await reactors.parked().isEmpty }
    }
    #expect(try await reactors.outcomes("a") == ["interrupted", "succeeded"])
    // Of one process that died after the call and before its record, and checkpoints that were lost.
    try await reactors.pool.query(
      """
      update event_store.effect_attempts set outcome = null, finished_at = null, started_at = started_at - interval '1 hour'
      where stream = 'job-a'
      """)
    try await reactors.pool.query(
      "update projections.checkpoints set position = 0, event_id = null, applied = 0, ids = 0, owner = null")
    let again = Recipient()
    try await withServices(reactors.services(Telling(recipient: again))) {
      try await reactors.append([(.reported(number: 1), "b")])
      try await eventually("it has come to the end") { again.keys.count == 2 }
      try await eventually("nothing waits") { try await reactors.parked().isEmpty }
    }
    #expect(again.numbers("a") == [0] && again.numbers("b") == [1])
    #expect(last.keys == again.keys.filter { last.keys.contains($0) })
    gate.open()
  }

  @Test(
    "No more calls are made at once than the limit, and their rate holds for all reactors together",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func limited() async throws {
    let (reactors, gate) = (Reactors(), Gate())
    let recipient = Recipient { _ in await gate.wait() }
    let limits = Telling.limited {
      $0.concurrency = 2
      $0.rate = 20
    }
    try await withServices(reactors.services(Telling(limits: limits, recipient: recipient))) {
      try await reactors.begun("telling")
      try await reactors.append((0..<16).map { (.reported(number: 0), "\($0)") })
      try await eventually("two calls are made") { recipient.running == 2 }
      gate.open()
      try await withServices(reactors.services(Telling(limits: limits, recipient: Recipient()))) {
        try await eventually("the recipient has every call") {
          try await reactors.pool.query(
            "select count(*) from event_store.effect_attempts where outcome = 'succeeded'"
          ).value(Int.self) == 16
        }
      }
    }
    #expect(recipient.mostRunning == 2)
    let least = try await reactors.pool.query(
      """
      select extract(epoch from min(gap))::double precision from (
        select started_at - lag(started_at) over (order by started_at) as gap from event_store.effect_attempts) g
      """
    ).value(Double.self)
    #expect(least > 0.049)
  }

  @Test(
    "A call that takes too long is given up, although it ignores that, and holds no other stream up",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func tooLong() async throws {
    let (reactors, gate) = (Reactors(), Gate())
    // A task of its own does not see that the call is cancelled.
    let recipient = Recipient { if $0.job == "a" { await Task.detached { await gate.wait() }.value } }
    let limits = Telling.limited {
      $0.attempts = 2
      $0.timeLimit = .milliseconds(200)
    }
    try await withServices(reactors.services(Telling(limits: limits, recipient: recipient))) {
      try await reactors.begun("telling")
      try await reactors.append((0..<20).map { (.reported(number: $0), $0 % 2 == 0 ? "a" : "b") })
      try await eventually("the other stream is done") { recipient.numbers("b").count == 10 }
      try await eventually("it waits for a person") {
        try await reactors.parked().contains { $0.retryAt == nil && $0.request == nil && $0.error.contains("no end") }
      }
      #expect(try await reactors.outcomes("a") == ["failed", "gave up"])
      gate.open()
    }
  }

  @Test(
    "A slow call goes on while its stream is parked, and is made once",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func slow() async throws {
    let (reactors, gate) = (Reactors(), Gate())
    let recipient = Recipient { if $0 == Telling.Call(job: "a", number: 0) { await gate.wait() } }
    try await withServices(reactors.services(Telling(recipient: recipient), parkLimit: 0)) {
      try await reactors.begun("telling")
      // All in one partition: streams of both lanes would go on anyway.
      let others = streams(5, besides: "a")
      try await reactors.append((["a"] + others).map { (.reported(number: 0), $0) })
      try await eventually("it has begun") { recipient.running == 1 }
      try await reactors.append((["a"] + others).map { (.reported(number: 1), $0) })
      try await eventually("the others are told everything") { recipient.keys.count == 10 }
      #expect(recipient.running == 1 && recipient.numbers("a").isEmpty)
      #expect(try await reactors.parked().map(\.attempts) == [0])
      gate.open()
      try await eventually("it goes on") { recipient.numbers("a") == [0, 1] }
      try await eventually("nothing waits") { try await reactors.parked().isEmpty }
    }
    #expect(try await reactors.outcomes("a") == ["succeeded", "succeeded"])
  }

  @Test(
    "Calls that no attempt can help park their streams, however many, and stop no other",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func hopeless() async throws {
    let reactors = Reactors()
    let recipient = Recipient { if $0.number == 1 { throw PermanentFailure("no such address") } }
    try await withServices(reactors.services(Telling(recipient: recipient), parkLimit: 2)) {
      try await reactors.begun("telling")
      let jobs = streams(20, besides: "a")
      for part in [jobs[..<10], jobs[10...]] {
        try await reactors.append(part.enumerated().map { (.reported(number: $0 < 6 ? 1 : 0), $1) })
        try await eventually("the other calls are made") { recipient.keys.count == (part.startIndex == 0 ? 4 : 8) }
      }
      try await eventually("twelve wait for a person") { try await reactors.parked().count == 12 }
      #expect(
        try await reactors.pool.query("select count(*) from projections.checkpoints where mode = 'halted'")
          .value(Int.self) == 0)
    }
  }

  @Test(
    "If many streams of a partition fail, it stops and is tried again; no call that was made is repeated",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func crowded() async throws {
    let (reactors, repaired) = (Reactors(), Toggle())
    let recipient = Recipient { if $0.number == 1, !repaired.isOn { throw Unreachable() } }
    let telling = Telling(limits: Telling.limited { $0.attempts = 1_000 }, recipient: recipient)
    try await withServices(reactors.services(telling, parkLimit: 2)) {
      try await reactors.begun("telling")
      let jobs = streams(10, besides: "a")
      func append(_ part: ArraySlice<String>) async throws {
        try await reactors.append(part.enumerated().map { (.reported(number: $0 < 3 ? 1 : 0), $1) })
      }
      try await append(jobs[..<5])
      try await eventually("three wait") { try await reactors.parked().count == 3 }
      try await append(jobs[5...])
      try await eventually("the partition stops") {
        try await reactors.pool.query("select count(*) from projections.checkpoints where mode = 'halted'")
          .value(Int.self) == 1
      }
      try await reactors.append((0..<16).map { (.reported(number: 0), "other-\($0)") })
      repaired.turnOn()
      try await eventually("the recipient has every call") { recipient.keys.count == 26 }
      try await eventually("nothing waits") { try await reactors.parked().isEmpty }
    }
    #expect(Set(recipient.keys).count == 26 && recipient.keys.count == 26)
  }

  @Test(
    "An event that cannot be read stops its own stream, before any call of it",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func unreadable() async throws {
    let (reactors, recipient) = (Reactors(), Recipient())
    try await withServices(reactors.services(Telling(recipient: recipient))) {
      try await reactors.begun("telling")
      try await reactors.append([(.reported(number: 0), "a"), (.reported(number: 0), "b")])
      let torn = NewEvent(
        stream: Job.stream("a"), id: .v7(), type: "JobReported", schemaVersion: 1, data: Array(#"{"number":"x"}"#.utf8),
        metadata: Array("{}".utf8))
      _ = try await reactors.store.append(AppendBatch(expectedVersions: [:], events: [torn]))
      try await reactors.append([(.reported(number: 1), "a"), (.reported(number: 1), "b")])
      try await eventually("the stream is parked") { try await reactors.parked().map(\.version) == [Version(2)] }
      try await eventually("the other one is done") { recipient.numbers("b") == [0, 1] }
      #expect(recipient.numbers("a") == [0])
      #expect(try await ParkedStreams(reactors.pool).ask(for: .discard, "reaction/telling", "job-a") == 1)
      try await eventually("it goes on without that event") { recipient.numbers("a") == [0, 1] }
    }
  }

  @Test(
    "A call reads the present state of a stream, and opens personal data until it is erased",
    .freshDatabase(eventStoreSchema, personalSchema, reactionEngineSchema))
  func context() async throws {
    let reactors = Reactors.restricted
    let owner = Reactors()
    let key = try #require(try await PersonalKeys(owner.pool).key(of: "ada"))
    let sealed = try key.seal(Array("Ada".utf8), of: "ada")
    let entered = try (0..<2).map {
      try LogEvent.entered(number: $0).new(in: Log.stream("1"), id: .v7(), metadata: Array("{}".utf8))
    }
    _ = try await owner.store.append(AppendBatch(expectedVersions: [:], events: entered))
    let recipient = Recipient()
    let reading = Reading { call, context in
      let name = try await context.open(sealed, of: "ada").map { String(decoding: $0, as: UTF8.self) }
      let entries = try await context.load(Log.self, call.job).entries
      #expect(context.attempt == 1 && context.time >= context.recordedAt)
      await #expect(throws: PermanentFailure.self) { _ = try await context.load(Log.self, "\u{1}") }
      try await recipient.take(Telling.Call(job: name ?? "erased", number: entries), idempotencyKey: context.key)
    }
    try await withServices(reactors.services(reading)) {
      try await reactors.begun("reading")
      try await owner.append([(.reported(number: 0), "1"), (.ended, "none")])
      try await eventually("both are read") { recipient.keys.count == 2 }
      try await owner.pool.query("update personal.keys set key = null, erased_at = now()")
      try await owner.append([(.ended, "1")])
      try await eventually("it is read again") { recipient.keys.count == 3 }
    }
    #expect(recipient.numbers("Ada").sorted() == [0, 2] && recipient.numbers("erased") == [2])
  }
}
