import CommandProcessing
import CoreMetrics
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

/// Schedules a command for each report.
private struct Reminding: Reaction {
  let name = "reminding"
  /// Whether all enter their numbers in one log.
  var isShared = false
  var due: @Sendable (Recorded<JobEvent>, Int) -> Due = { _, _ in .after(.zero) }

  var triggers: [Trigger] {
    [
      Trigger(Job.self) { [due, isShared] event, todo in
        guard case .reported(let number) = event.event else { return }
        guard !isShared else { return todo.schedule(Enter(number: number), to: "all", due(event, number)) }
        todo.schedule(EnterIfEmpty(number: number), to: "\(number)", due(event, number))
      }
    ]
  }
  let schedules = [ScheduledType(EnterIfEmpty.self), ScheduledType(Enter.self)]
}

@Suite("Deadlines", .tags(.integration), .needsServers)
struct DeadlineTests {
  private func outstanding(_ reactors: Reactors) async throws -> Int {
    try await reactors.pool.query("select count(*) from event_store.deadlines where failed_at is null").value(Int.self)
  }

  @Test(
    "Each deadline fires once, and not before its time on the database's clock",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func once() async throws {
    let reactors = Reactors()
    let reminding = Reminding { event, number in
      switch number % 3 {
      case 0: .at(Timestamp(microsecondsSince1970: event.recordedAt.microsecondsSince1970 + 300_000))
      case 1: .after(.milliseconds(500))
      default: .after(.seconds(3600))
      }
    }
    // Two reactors: one of them carries deadlines out.
    try await withServices(reactors.services(reminding, deadlines: true)) {
      try await reactors.begun("reminding")
      try await withServices(reactors.services(reminding, deadlines: true)) {
        try await reactors.append((0..<90).map { (.reported(number: $0), "\($0 % 7)") })
        try await eventually("those that are due are carried out") { try await reactors.count("LogEntered") == 60 }
        try await eventually("the others wait") { try await outstanding(reactors) == 30 }
      }
    }
    let early = try await reactors.pool.query(
      """
      select count(*) from event_store.events e
      join event_store.events r on r.type = 'JobReported' and e.stream = 'log-' || (r.data ->> 'number')
      where e.type = 'LogEntered' and e.recorded_at < r.recorded_at + interval '300 milliseconds'
      """
    ).value(Int.self)
    #expect(early == 0)
  }

  @Test(
    "After an outage each that is due fires once, those of a stream in the order in which they were due",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func outage() async throws {
    let reactors = Reactors()
    let reminding = Reminding(isShared: true) { event, number in
      .at(event.recordedAt.advanced(by: .milliseconds(900 - number * 30)))
    }
    try await withServices(reactors.services(reminding)) {
      try await reactors.begun("reminding")
      try await reactors.append((0..<30).map { (.reported(number: $0), "a") })
      try await eventually("all are scheduled") { try await outstanding(reactors) == 30 }
    }
    try await eventually("all are due") {
      try await reactors.pool.query("select count(*) from event_store.deadlines where due_at > clock_timestamp()")
        .value(Int.self) == 0
    }
    // One was carried out, and its row came back: as after a response that was lost.
    let first = try await reactors.pool.query("select id from event_store.deadlines order by due_at limit 1")
      .value(UUID.self)
    try await reactors.pool.query("create table kept as select * from event_store.deadlines where id = \(first)")
    try await withServices(reactors.services(reminding, deadlines: true, rate: 10)) {
      try await eventually("all are carried out") { try await reactors.count("LogEntered") == 30 }
      try await reactors.pool.query("insert into event_store.deadlines select * from kept")
      try await eventually("its row goes again") { try await outstanding(reactors) == 0 }
    }
    #expect(try await reactors.count("LogEntered") == 30)
    #expect(try await reactors.log("all") == (0..<30).reversed().map { .entered(number: $0) })
  }

  @Test(
    "One that is rejected waits for a person, and one that this build does not know waits for another build",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func failing() async throws {
    let reactors = Reactors()
    let closed = try LogEvent.closed.new(in: Log.stream("1"), id: .v7(), metadata: Array("{}".utf8))
    _ = try await reactors.store.append(AppendBatch(expectedVersions: [:], events: [closed]))
    try await reactors.pool.query(
      """
      insert into event_store.deadlines (id, due_at, command, data, metadata, scheduled_at)
      values (gen_random_uuid(), now() - interval '1 day', 'Later', '{}', '{}', now())
      """)
    let metrics = TestMetrics()
    let services = withMetricsFactory(metrics) { reactors.services(Reminding(), deadlines: true) }
    try await withServices(services) {
      try await reactors.begun("reminding")
      try await reactors.append([(.reported(number: 1), "a"), (.reported(number: 2), "a")])
      try await eventually("the other one is carried out") { try await reactors.log("2") == [.entered(number: 2)] }
      try await eventually("the rejected one waits") {
        try await reactors.pool.query("select count(*) from event_store.deadlines where error like '%closed%'")
          .value(Int.self) == 1
      }
      #expect(try await outstanding(reactors) == 1)
      #expect(metrics.counterTotal(label: "deadlines_failed_total") == 1)
      #expect(metrics.counterTotal(label: "deadlines_fired_total") == 1)
      func last(_ label: String) -> Double { metrics.recorders(label: label).compactMap(\.lastValue).max() ?? -1 }
      try await eventually("they are counted") { last("deadlines_stuck") == 1 && last("deadlines_outstanding") == 1 }
      #expect(last("deadlines_overdue_seconds") > 86_000)
    }
  }

  @Test(
    "A command that is repeated schedules once; one that is rejected schedules nothing",
    .freshDatabase(eventStoreSchema))
  func scheduling() async throws {
    let reactors = Reactors()
    try await withProcessor(reactors.store) { processor in
      let request = CommandRequest.fresh()
      for _ in 0..<3 {
        _ = try await processor.execute(Remind(isRejected: false), request) { _ in [] }
        await #expect(throws: Rejection.self) {
          _ = try await processor.execute(Remind(isRejected: true), .fresh()) { _ in [] }
        }
      }
    }
    #expect(try await outstanding(reactors) == 1)
    let (command, data) = try #require(
      try await reactors.pool.query("select command, data::text from event_store.deadlines").decode(
        (String, String).self
      )
      .first)
    #expect(command == "EnterIfEmpty" && data.contains("\"number\":7"), "\(command) \(data)")
  }
}

private struct Remind: Command {
  var isRejected: Bool
  var streams: [AggregateReference] { [AggregateReference(Log.self, "a")] }

  func decide(_ decision: inout Decision) throws(Rejection) {
    decision.schedule(EnterIfEmpty(number: 7), to: "a", .after(.seconds(60)))
    if isRejected { throw Rejection("no", title: "No", detail: "Not now.") }
  }
}
