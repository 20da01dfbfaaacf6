import CoreMetrics
import CounterflowTesting
import EventSourcing
import Foundation
import MetricsTestKit
import Postgres
import PostgresEventStore
import Projections
import Reactions
import Synchronization
import TestSupport
import Testing

/// Uses a stream within `attempt` that it does not name.
private struct Careless: Command {
  var streams: [AggregateReference] { [AggregateReference(Log.self, "a")] }

  func decide(_ decision: inout Decision) throws(Rejection) {
    if decision.attempt(Addressed(Enter(number: 1), to: "undeclared")) != nil {
      decision.emit(.returned(code: "wrong"), to: Log.self, "a")
    }
  }
}

/// Enters a report in two logs, each by itself, and one with an id that cannot be one.
private struct Scattering: Reaction {
  let name = "scattering"
  var slots = ["one", "two"]

  var triggers: [Trigger] {
    [
      Trigger(Job.self) { [slots] event, todo in
        guard case .reported(let number) = event.event else { return }
        for slot in slots { todo.separately(slot) { $0.run(Enter(number: number), to: slot) } }
        todo.run(
          Enter(number: number), to: "\u{1}", otherwise: .emit({ .returned(code: $0.code) }, to: Log.self, "bad"))
      }
    ]
  }
}

/// Delivers what a test gives it too.
private final class InjectingFeed: EventFeed {
  private let whole: PostgresFeed
  private let receivers = Mutex<[any FeedReceiver]>([])

  init(_ reactors: Reactors) {
    whole = PostgresFeed(reactors.pool, pollInterval: .milliseconds(100), logger: .quiet)
  }

  func run(_ partitioning: Partitioning, to receiver: some FeedReceiver) async {
    receivers.withLock { $0.append(receiver) }
    await whole.run(partitioning, to: receiver)
  }

  func inject(_ message: FeedMessage) {
    for receiver in receivers.withLock({ $0 }) { receiver.receive(message) }
  }
}

extension ReactionTests {
  @Test("A part of a decision that uses an undeclared stream makes the whole decision void")
  func misuse() throws {
    #expect(throws: UndeclaredStream.self) { try givenNothing().when(Careless()) }
    #expect(throws: UndeclaredStream.self) {
      try given(Log.self, id: "undeclared", .closed).when(Careless())
    }
  }

  @Test("A slot that is empty, too long or there twice is refused")
  func slots() throws {
    let reported = try given(Job.self, .reported(number: 1))
    for slots in [[""], [String(repeating: "s", count: 101)], ["twice", "twice"]] {
      #expect(throws: (any Error).self) { try reported.on(Scattering(slots: slots)) }
    }
    try reported.on(Scattering()).then(Log.self, id: "bad", .returned(code: "invalid-id"))
  }

  @Test(
    "A separate append that is rejected keeps no other from being made; retried, none is made twice",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func separate() async throws {
    let reactors = Reactors()
    let closed = try LogEvent.closed.new(in: Log.stream("one"), id: .v7(), metadata: Array("{}".utf8))
    _ = try await reactors.store.append(AppendBatch(expectedVersions: [:], events: [closed]))
    try await withServices(reactors.services(Scattering())) {
      try await reactors.begun("scattering")
      try await reactors.append([(.reported(number: 1), "a")])
      try await eventually("the stream is parked") { try await ParkedStreams(reactors.pool).list().count == 1 }
      #expect(try await reactors.log("two") == [.entered(number: 1)])
      #expect(try await reactors.log("bad") == [.returned(code: "invalid-id")])
      let attempts = try await ParkedStreams(reactors.pool).list()[0].attempts
      #expect(try await ParkedStreams(reactors.pool).retry("reaction/scattering", "job-a") == 1)
      try await eventually("it was tried again") {
        try await ParkedStreams(reactors.pool).list()[0].attempts > attempts
      }
    }
    #expect(try await reactors.log("two") == [.entered(number: 1)])
    #expect(try await reactors.log("one") == [.closed])
  }

  @Test(
    "After a restore a reaction continues with its restored checkpoints",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func restored() async throws {
    let reactors = Reactors()
    try await withServices(reactors.services(Logging())) {
      try await reactors.begun("logging")
      try await reactors.append((0..<10).map { (.reported(number: $0), "a") })
      try await eventually("it has reacted") { try await reactors.log("a").count == 10 }
    }
    let owner = try await FreshDatabase.current.connect()
    let before = try await reactors.store.historyID()
    #expect(try await PostgresEventStore.declareRestored(losingNothing: false, owner).historyID != before)
    let after = Reactors()
    try await withServices(after.services(Logging())) {
      try await after.append([(.reported(number: 10), "a")])
      try await eventually("it goes on") { try await after.log("a").count == 11 }
    }
    #expect(try await after.log("a") == (0...10).map { .entered(number: $0) })
  }

  @Test(
    "After a restore no checkpoint moves to an event that was lost, and the event in its place is reacted to",
    .freshDatabase(eventStoreSchema, reactionEngineSchema))
  func lostEvents() async throws {
    let (reactors, metrics) = (Reactors(), TestMetrics())
    let feed = InjectingFeed(reactors)
    try await withServices(reactors.services(Logging(), feed: feed, headInterval: .seconds(3600)), metrics) {
      try await reactors.begun("logging")
      var reports = 0
      try await eventually("the feed flows, and it has reacted to everything") {
        if try await reactors.log("first").isEmpty {
          try await reactors.append([(.reported(number: 0), "first")])
          reports += 1
        }
        return try await reactors.log("first").count == reports
      }
      // What the reactor has read after the backup: nothing follows from it, so that its checkpoint is still in memory.
      let partition = Partitioning.standard.partition(of: Job.stream("a"))
      let before = try await reactors.store.heads(of: .standard)[partition.index]
      let position = try await reactors.store.head().advanced(by: 1)
      let lost = RecordedEvent(
        position: position, stream: Job.stream("a"), version: Version(1), hash: Job.stream("a").hash, id: .v7(),
        type: "JobEnded", schemaVersion: 1,
        data: Array("{}".utf8), metadata: Array("{}".utf8), recordedAt: .now)
      let message = FeedMessage([
        FeedBatch(
          historyID: try await reactors.store.historyID(), partition: partition,
          previous: FeedBatch.Previous(position: before.position, eventID: before.eventID), events: [lost])
      ])
      try await eventually("the store refuses the checkpoint") {
        feed.inject(message)
        return metrics.counterTotal(label: "projection_fenced_total") > 0
      }
      #expect(
        try await reactors.pool.query("select max(position) from projections.checkpoints").value(Int64.self)
          < position.rawValue)
      try await reactors.append([(.reported(number: 1), "a")])
      #expect(try await reactors.store.events(after: position.advanced(by: -1), limit: 1).first?.type == "JobReported")
      try await eventually("it reacts") { try await reactors.log("a") == [.entered(number: 1)] }
    }
  }

  @Test(
    "An older version takes over once nobody runs the newer one, and reacts to nothing again",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func rollback() async throws {
    let reactors = Reactors()
    try await withServices(reactors.services(Logging(version: 2))) {
      try await reactors.begun("logging")
      try await reactors.append((0..<5).map { (.reported(number: $0), "a") })
      try await eventually("it has reacted") { try await reactors.log("a").count == 5 }
    }
    try await withServices(reactors.services(Logging(version: 1))) {
      try await reactors.append([(.reported(number: 5), "a")])
      try await eventually("the older version has reacted") { try await reactors.log("a").count == 6 }
    }
    #expect(try await Generations(reactors.pool).all(of: ["reaction/logging"]).map(\.version) == [1])
    #expect(try await reactors.log("a") == (0..<6).map { .entered(number: $0) })
  }
}
