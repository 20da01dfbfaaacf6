import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import Projections
import Reactions
import Synchronization
import TestSupport
import Testing

extension ReactionTests {
  @Test(
    "While an event of a process is parked, the process's events from other streams wait too; all other processes continue",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func parkedProcess() async throws {
    let reactors = Reactors()
    let isRepaired = Atomic(false)
    let reaction = Gathering { number in
      if number == 1_000, !isRepaired.load(ordering: .relaxed) { throw Broken() }
    }
    let parked = ParkedStreams(reactors.pool)
    try await withServices(reactors.services(reaction)) {
      try await reactors.begun("gathering")
      try await reactors.append([(.reported(number: 1_000), "a"), (.reported(number: 1_001), "b")])
      try await eventually("the process is parked") {
        try await parked.list().map(\.stream.rawValue) == ["gathering-1"]
      }
      try await reactors.append(
        [(.reported(number: 1_002), "c")] + (2_000..<2_003).map { (.reported(number: $0), "a") })
      try await eventually("another process of the same streams is done") { try await reactors.log("2").count == 1 }
    }
    #expect(try await reactors.count("NumberGathered") == 3)
    let waiting = try await reactors.verify(reaction)
    #expect((waiting.findings, waiting.waiting) == ([], 3))
    // Another process takes it up from the database alone.
    isRepaired.store(true, ordering: .relaxed)
    try await withServices(reactors.services(reaction)) {
      #expect(try await parked.retry("reaction/gathering", "gathering-1") == 1)
      try await eventually("the process continues") { try await reactors.log("1").count == 1 }
      try await eventually("nothing is parked") { try await parked.list().isEmpty }
      try await reactors.append([(.reported(number: 1_003), "a")])
      try await eventually("its next event is handled") { try await reactors.count("NumberGathered") == 7 }
    }
    let gathered = try await reactors.store.events(in: Gathered.stream("1"), after: .none, limit: 9)
    #expect(try gathered.map { try GatheredEvent($0) } == (1_000..<1_004).map { .gathered(number: $0) })
    #expect(try await reactors.verify(reaction).findings == [])
    #expect(try await reactors.pool.query("select 1 from projections.waiting").isEmpty)
  }

  @Test(
    "An event of a parked process that is discarded is left out alone",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func discardedOfProcess() async throws {
    let reactors = Reactors()
    let reaction = Gathering { if $0 == 1_000 { throw Broken() } }
    let parked = ParkedStreams(reactors.pool)
    try await withServices(reactors.services(reaction)) {
      try await reactors.begun("gathering")
      try await reactors.append((1_000..<1_004).map { (.reported(number: $0), "\($0 % 2)") })
      try await eventually("the process is parked") { try await parked.list().count == 1 }
      try await eventually("it has failed") { try await parked.list().first?.request == nil }
      #expect(try await parked.ask(for: .discard, "reaction/gathering", "gathering-1") == 1)
      try await eventually("the others are handled") { try await reactors.log("1").count == 1 }
      try await eventually("nothing is parked") { try await parked.list().isEmpty }
    }
    #expect(try await reactors.log("1") == [.entered(number: 3_006)])
    let result = try await reactors.verify(reaction)
    #expect((result.findings, result.discarded) == ([], 1))
  }

  @Test(
    "A version that takes other categories begins with them where it takes over, and the ledger knows that",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func otherCategories() async throws {
    let reactors = Reactors()
    func append(_ numbers: Range<Int>) async throws {
      for number in numbers {
        try await reactors.append([(.reported(number: number), "\(number)")])
        let other = try LogEvent.entered(number: number).new(
          in: Log.stream("other-\(number)"), id: .v7(), metadata: Array("{}".utf8))
        _ = try await reactors.store.append(AppendBatch(expectedVersions: [:], events: [other]))
      }
    }
    try await withServices(reactors.services(Logging())) {
      try await reactors.begun("logging")
      try await append(0..<10)
      try await eventually("the old one has reacted") { try await reactors.count("LogEntered") == 20 }
    }
    let seen = Mutex<Set<Int>>([])
    let newer = Logging(
      version: 2,
      others: [
        Trigger(Log.self) { event, _ in
          if case .entered(let number) = event.event, event.id.hasPrefix("other") {
            seen.withLock { _ = $0.insert(number) }
          }
        }
      ])
    try await withServices(reactors.services(newer)) {
      try await eventually("it has taken over") {
        try await Generations(reactors.pool).all(of: ["reaction/logging"]).map(\.version) == [2]
      }
      try await append(10..<20)
      try await eventually("the new one has reacted") { try await reactors.count("LogEntered") == 40 }
      try await eventually("nothing is behind") {
        let heads = try await reactors.store.heads(of: .standard).map(\.position.rawValue)
        let reached = try await reactors.pool.query("select position from projections.checkpoints order by partition")
          .decode(Int64.self)
        return zip(reached, heads).allSatisfy { $0 >= $1 }
      }
    }
    #expect(seen.withLock { $0.isSuperset(of: 10..<20) })
    #expect(try await reactors.verify(newer).findings == [])
    // A version that takes them no longer.
    let older = Logging(version: 3)
    try await withServices(reactors.services(older)) {
      try await append(20..<25)
      try await eventually("the third one has reacted") { try await reactors.count("LogEntered") == 50 }
    }
    #expect(try await reactors.verify(older).findings == [])
  }

  @Test(
    "A version that does not take the category of a parked stream waits until the stream is settled",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func droppedCategory() async throws {
    let reactors = Reactors()
    let isRepaired = Atomic(false)
    let older = Logging(
      others: [
        Trigger(Log.self) { event, _ in
          if event.id == "bad", !isRepaired.load(ordering: .relaxed) { throw Broken() }
        }
      ])
    let parked = ParkedStreams(reactors.pool)
    func version() async throws -> [Int] {
      try await Generations(reactors.pool).all(of: ["reaction/logging"]).map(\.version)
    }
    try await withServices(reactors.services(older)) {
      try await reactors.begun("logging")
      let bad = try LogEvent.closed.new(in: Log.stream("bad"), id: .v7(), metadata: Array("{}".utf8))
      _ = try await reactors.store.append(AppendBatch(expectedVersions: [:], events: [bad]))
      try await eventually("the stream is parked") { try await parked.list().count == 1 }
      let log = LogRecorder()
      try await withServices(reactors.services(Logging(version: 2), logger: log.logger)) {
        try await reactors.append([(.reported(number: 1), "a")])
        try await eventually("the older version goes on") { try await reactors.log("a").count == 1 }
        try await eventually("the newer one says why it waits") {
          log.lines.contains { $0.contains("streams are parked whose category this version does not take") }
        }
        #expect(try await version() == [1])
        isRepaired.store(true, ordering: .relaxed)
        #expect(try await parked.retry("reaction/logging", "log-bad") == 1)
        try await eventually("the newer version has taken over") { try await version() == [2] }
      }
    }
    #expect(try await parked.list().isEmpty)
    #expect(try await reactors.verify(Logging(version: 2)).findings == [])
  }

  @Test(
    "Events from which nothing follows move the checkpoints, and stand in the ledger",
    .freshDatabase(eventStoreSchema, projectionsSchema))
  func idle() async throws {
    let reactors = Reactors()
    try await withServices(reactors.services(Logging())) {
      try await reactors.begun("logging")
      for number in 0..<30 {
        try await reactors.append([(.ended, "\(number)"), (.reported(number: number), "\(number % 3)")])
      }
      try await reactors.append((0..<10).map { (.ended, "\($0)") })
      try await eventually("all are done") { try await reactors.verify(Logging()).events == 70 }
    }
    #expect(try await reactors.count("LogEntered") == 30)
    #expect(try await reactors.verify(Logging()).findings == [])
  }
}

private struct Broken: Error {}
