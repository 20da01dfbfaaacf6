import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import Projections

// Read models beside archived events.
extension EngineTests {
  @Test(
    "A rebuild that needs archived events stops with the reason, and continues once they are attached",
    .freshVirtualHost, .freshDatabase(eventStoreSchema, projectionsSchema, tables), arguments: Feed.allCases)
  func archived(feed: Feed) async throws {
    let fixture = try await ArchiveFixture()
    let engine = Engine(feed: feed)
    let generations = Generations(engine.pool)
    func archive() async throws -> Archive.File {
      let part = try #require(try await fixture.archive.firstPart())
      let file = try await fixture.archive.write(part, to: fixture.folder)
      #expect(try await fixture.archive.detach(file) == nil)
      return file
    }
    func obstacle() async throws -> String? {
      let part = try #require(try await fixture.archive.firstPart())
      return try await ArchiveObstacle.find(
        in: engine.pool, before: Position(part.upper), heads: fixture.archive.heads(of: part)
      ) { _ in true }
    }
    try await withServices([engine.projector()]) {
      try await engine.append(20)
      try await engine.expectComplete(of: 1)
    }
    try await engine.append(20)
    try await engine.append(20)
    #expect(try await obstacle() == nil)
    let first = try await archive()
    let behind = try await obstacle()
    #expect(behind?.contains("of counting has applied partition") == true, "\(behind ?? "none")")

    // Workers begin again at checkpoints of which some are archived.
    try await withServices(engine.feeding(engine.projector())) {
      try await engine.expectComplete(of: 3)
      try await eventually("every checkpoint is written") { try await obstacle() == nil }
      let second = try await archive()
      let serving = try #require(try await generations.all(of: ["counting"]).first)
      let number = try await generations.add(
        Projection(Counting()), serving.partitioning, historyID: try await engine.store.historyID(), state: .building,
        activates: false)
      #expect(number == 2)
      let affected = try await engine.store.heads(of: .standard).count { $0.position > .start }
      try await eventually("the rebuild stops with the reason") {
        try await engine.pool.query(
          "select error from projections.checkpoints where generation = 2 and error like 'events up to 40 are archived%'"
        ).count == affected
      }
      #expect(try await engine.pool.query("select 1 from read_models.counting_g2").count == 0)
      // The generation that serves goes on meanwhile.
      try await engine.append(20)
      try await engine.expectComplete(of: 4)
      try await fixture.archive.attach(second, from: fixture.folder)
      try await fixture.archive.attach(first, from: fixture.folder)
      let building = try #require(try await generations.all(of: ["counting"]).last)
      try await eventually("it serves") {
        let reason = try await generations.activate(building, of: engine.store)
        let last = try await generations.all(of: ["counting"]).last
        return reason == nil || last?.state == .serving
      }
      try await engine.expectComplete(of: 4)
    }
    let generation = try #require(try await generations.all(of: ["counting"]).last)
    let connection = try await FreshDatabase.current.connect()
    let sound = try await Verification.verify(
      Projection(Counting()), generation, on: connection, engine.store, partitions: nil)
    #expect(sound.holds, "\(sound.findings)")
    _ = try await archive()
    let refused = try await Verification.verify(
      Projection(Counting()), generation, on: connection, engine.store, partitions: nil)
    #expect(refused.findings.contains { $0.contains("events up to 20 are archived") }, "\(refused.findings)")
  }
}
