import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import Projections
import Reactions
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

@Suite("Reactions", .tags(.integration), .needsServers)
struct ReactionTests {
  @Test(
    "Two reactors react to each event once and in order, though one dies and checkpoints are lost",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func once() async throws {
    let reactors = Reactors()
    let jobs = (0..<20).map { "\($0)" }
    try await withServices(reactors.services(Logging())) {
      try await reactors.begun("logging")
      try await withServices(reactors.services(Logging())) {
        for number in 0..<10 { try await reactors.append(jobs.map { (.reported(number: number), $0) }) }
        try await eventually("most is done") { try await reactors.count("LogEntered") > 100 }
      }
      for number in 10..<20 { try await reactors.append(jobs.map { (.reported(number: number), $0) }) }
      try await eventually("all is done") { try await reactors.count("LogEntered") == 400 }
    }
    // As after a crash that took the last checkpoints back: every event comes again.
    try await reactors.pool.query(
      "update projections.checkpoints set position = 0, event_id = null, applied = 0, ids = 0")
    try await withServices(reactors.services(Logging())) {
      try await reactors.append([(.reported(number: 20), "0")])
      try await eventually("it has come to the end") { try await reactors.count("LogEntered") == 401 }
    }
    for job in jobs {
      let expected = (0..<(job == "0" ? 21 : 20)).map { LogEvent.entered(number: $0) }
      #expect(try await reactors.log(job) == expected)
    }
  }

  @Test(
    "A new reaction starts at the head, or at the beginning if it says so",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func start() async throws {
    let reactors = Reactors()
    try await reactors.append((0..<50).map { (.reported(number: $0), "old") })
    try await withServices(reactors.services(Logging(), Logging(name: "all", start: .beginning))) {
      try await reactors.begun("logging")
      try await reactors.begun("all")
      try await reactors.append([(.reported(number: 50), "new")])
      try await eventually("both have reacted") { try await reactors.log("new").count == 2 }
      try await eventually("one has reacted to all") { try await reactors.log("old").count == 50 }
    }
    #expect(try await reactors.log("old") == (0..<50).map { .entered(number: $0) })
    let generations = try await Generations(reactors.pool).all(of: ["reaction/logging", "reaction/all"])
    #expect(generations.map(\.from) == [.start, Position(50)])
  }

  @Test(
    "A new version takes over where the old one stood, and reacts to nothing again",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func takeover() async throws {
    let reactors = Reactors()
    let seen = Mutex<[Int]>([])
    try await withServices(reactors.services(Logging())) {
      try await reactors.begun("logging")
      try await reactors.append((0..<10).map { (.reported(number: $0), "a") })
      try await eventually("the old one has reacted") { try await reactors.log("a").count == 10 }
    }
    let newer = Logging(version: 2) { number in seen.withLock { $0.append(number) } }
    try await withServices(reactors.services(newer)) {
      try await reactors.append([(.reported(number: 10), "a")])
      try await eventually("the new one has reacted") { try await reactors.log("a").count == 11 }
    }
    #expect(try await Generations(reactors.pool).all(of: ["reaction/logging"]).map(\.version) == [2])
    #expect(seen.withLock { Set($0) } == [10])
  }

  @Test(
    "A rejection parks the stream and nothing else; retried, each waiting event is handled once, in order",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func parking() async throws {
    let reactors = Reactors()
    let isRepaired = Atomic(false)
    let reaction = Logging { number in
      if number == 1, !isRepaired.load(ordering: .relaxed) { throw Broken() }
    }
    try await withServices(reactors.services(reaction)) {
      try await reactors.begun("logging")
      try await reactors.append(
        (0..<5).map { (.reported(number: $0), "a") } + (2..<5).map { (.reported(number: $0), "b") })
      try await eventually("the other stream is done") { try await reactors.log("b").count == 3 }
      try await eventually("the stream is parked") { try await ParkedStreams(reactors.pool).list().count == 1 }
      #expect(try await reactors.log("a") == [.entered(number: 0)])
      isRepaired.store(true, ordering: .relaxed)
      #expect(try await ParkedStreams(reactors.pool).retry("reaction/logging", "job-a") == 1)
      try await eventually("the stream goes on") { try await reactors.log("a").count == 5 }
      try await eventually("nothing is parked") { try await ParkedStreams(reactors.pool).list().isEmpty }
    }
    #expect(try await reactors.log("a") == (0..<5).map { .entered(number: $0) })
  }

  @Test(
    "A rejected command parks the stream, is ignored, or is answered in the same append",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func rejections() async throws {
    let reactors = Reactors()
    let closed = try LogEvent.closed.new(in: Log.stream("a"), id: .v7(), metadata: Array("{}".utf8))
    _ = try await reactors.store.append(AppendBatch(expectedVersions: [:], events: [closed]))
    let answered = Logging(name: "answered", fallback: .emit({ .returned(code: $0.code) }, to: Log.self, "returns"))
    try await withServices(
      reactors.services(Logging(), Logging(name: "ignored", fallback: .ignore), answered)
    ) {
      for name in ["logging", "ignored", "answered"] { try await reactors.begun(name) }
      try await reactors.append([(.reported(number: 1), "a"), (.reported(number: 2), "b")])
      try await eventually("the other stream is done by all") { try await reactors.log("b").count == 3 }
      try await eventually("it is answered") { try await reactors.log("returns") == [.returned(code: "closed")] }
      try await eventually("one has parked it") {
        try await ParkedStreams(reactors.pool).list().map(\.projection) == ["reaction/logging"]
      }
    }
    #expect(try await reactors.log("a") == [.closed])
  }

  @Test(
    "A process handles the events of its key in order, from whatever streams, with its state in the same append",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func processes() async throws {
    let reactors = Reactors()
    try await withServices(reactors.services(Gathering())) {
      try await reactors.begun("gathering")
      try await withServices(reactors.services(Gathering())) {
        // Each key's numbers come from three streams.
        for round in 0..<3 {
          try await reactors.append((0..<40).map { (.reported(number: $0 * 1_000 + round), "\(round)-\($0)") })
        }
        try await eventually("all are entered") { try await reactors.count("LogEntered") == 40 }
      }
    }
    for key in 0..<40 {
      let gathered = try await reactors.store.events(in: Gathered.stream("\(key)"), after: .none, limit: 9)
      #expect(try gathered.map { try GatheredEvent($0) } == (0..<3).map { .gathered(number: key * 1_000 + $0) })
      #expect(try await reactors.log("\(key)") == [.entered(number: key * 3_000 + 3)])
    }
  }

  @Test(
    "The ledger of a reaction proves that it has missed no event", .freshDatabase(eventStoreSchema, projectionsSchema))
  func verified() async throws {
    let reactors = Reactors()
    try await reactors.append((0..<30).map { (.reported(number: $0), "old") })
    let reaction = Logging()
    try await withServices(reactors.services(reaction)) {
      try await reactors.begun("logging")
      try await reactors.append((0..<30).map { (.reported(number: $0), "\($0)") })
      try await eventually("all is done") { try await reactors.count("LogEntered") == 30 }
    }
    let sound = try await reactors.verify(reaction)
    #expect(sound.findings == [])
    #expect(sound.events == 30)
    try await reactors.pool.query("update projections.checkpoints set applied = applied - 1 where applied > 0")
    #expect(try await reactors.verify(reaction).findingCount > 0)
  }

  @Test(
    "A projector may not change the checkpoints of reactions, nor a reactor those of read models",
    .freshDatabase(eventStoreSchema),
    arguments: [(readModelEngineSchema, "projector", "reactor"), (reactionEngineSchema, "reactor", "projector")])
  func rights(schema: Schema, runner: String, other: String) async throws {
    let connection = try await FreshDatabase.current.connect()
    _ = try await connection.migrate(schema)
    func mayWrite(_ role: String) async throws -> Bool {
      try await connection.query(
        "select has_table_privilege(\("counterflow_" + role), 'projections.checkpoints', 'insert, update, delete')"
      ).value()
    }
    #expect(try await mayWrite(runner))
    #expect(try await !mayWrite(other))
    await connection.close()
  }
}

private struct Broken: Error {}
