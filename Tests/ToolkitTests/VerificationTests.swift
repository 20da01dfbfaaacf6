import EventSourcing
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import Projections

@Suite("Verification", .tags(.integration), .needsServers)
struct VerificationTests {
  @Test(
    "A partition is verified a limited number of streams and events at a time", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func bounded(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    let one = try #require(Partitioning(count: 1))
    for _ in 0..<3 { try await engine.append(1_000, streams: 1_000) }
    try await engine.append(900, streams: 1)
    let projection = Projection(Counting())
    try await withServices([engine.projector(batchSize: 2_000, partitioning: one)]) {
      try await eventually("every event is counted") {
        try await engine.pool.query("select coalesce(sum(count), 0)::bigint from read_models.counting").value(Int.self)
          == 3_900
      }
    }
    let generation = try #require(try await Generations(engine.pool).all(of: ["counting"]).first)
    let connection = try await FreshDatabase.current.connect()
    func verify() async throws -> Verification {
      try await Verification.verify(projection, generation, on: connection, engine.store, partitions: nil)
    }
    let sound = try await verify()
    #expect(sound.holds && sound.rows == 1_000 && sound.events == 3_900, "\(sound.findings)")
    #expect((1...Verification.streamsAtOnce).contains(sound.most.rows))
    #expect((1...Verification.eventsAtOnce).contains(sound.most.events))
    // Every defect is found: a wrong row, a wrong sum, an extra row and a missing row.
    try await engine.pool.query("update read_models.counting_g1 set document = '{}' where key = 'thing-0'")
    try await engine.pool.query("update read_models.counting_digits_g1 set events = events + 1 where digit = '7'")
    try await engine.pool.query("update read_models.counting_g1 set key = 'nobody' where key = 'thing-999'")
    try await engine.pool.query("insert into read_models.counting_g1 values ('more', 1, 0, '{}', 1)")
    let findings = try await verify().findings
    for part in ["row thing-0:", "row 7:", "no row thing-999", "row nobody", "row more"] {
      #expect(findings.contains { $0.contains(part) }, "\(part) in \(findings)")
    }
    #expect(findings.count == 5, "\(findings)")
  }

  @Test(
    "A partition with more sums than fit in memory is verified, and wrong sums are found",
    .freshVirtualHost, .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func sums(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    let one = try #require(Partitioning(count: 1))
    try await engine.append(3_000, streams: 1_000)
    try await engine.append(300, streams: 10)
    var projection = Counting()
    projection.digits = 3
    try await withServices([engine.projector(batchSize: 2_000, partitioning: one, digits: 3)]) {
      try await eventually("every event is counted") {
        try await engine.pool.query("select coalesce(sum(count), 0)::bigint from read_models.counting").value(Int.self)
          == 3_300
      }
    }
    let generation = try #require(try await Generations(engine.pool).all(of: ["counting"]).first)
    let connection = try await FreshDatabase.current.connect()
    func verify(sumLimit: Int) async throws -> Verification {
      try await Verification.verify(
        Projection(projection), generation, on: connection, engine.store, partitions: nil, sumLimit: sumLimit)
    }
    // Twice on one connection: the first run leaves nothing behind.
    for _ in 0..<2 {
      let sound = try await verify(sumLimit: 100)
      #expect(sound.holds && sound.rows == 1_000, "\(sound.findings)")
      #expect(sound.most.sums <= 100 + Verification.streamsAtOnce && sound.sumsMoved > 3)
    }
    try await engine.pool.query("update read_models.counting_digits_g1 set events = events + 1 where digit = '123'")
    try await engine.pool.query("delete from read_models.counting_digits_g1 where digit = '456'")
    try await engine.pool.query(
      "insert into read_models.counting_digits_g1 values ('more', 0, 1, 2), ('zero', 0, 0, 0)")
    let wrong = [
      "row 123: 1,4, the events come to 1,3", "row 456: nothing, the events come to 1,3",
      "row more: 1,2, the events come to nothing",
    ]
    for sumLimit in [100, 10_000] {
      let findings = try await verify(sumLimit: sumLimit).findings
      #expect(findings.sorted() == wrong.map { "read_models.counting_digits_g1, partition 0, \($0)" }, "\(findings)")
    }
    // Findings beyond the limit are only counted.
    try await engine.pool.query("update read_models.counting_digits_g1 set events = events + 5 where digit like '7%'")
    let many = try await verify(sumLimit: 100)
    #expect(many.findingCount == 103 && many.findings.count == Verification.findingLimit)
  }
}
