import EventSourcing
import Foundation
import Logging
import Postgres
import PostgresEventStore
import RabbitMQ
import RabbitMQFeed
import ServiceLifecycle
import TestSupport
import Testing

@testable import Projections

// Generations of a projection, and projections side by side.
extension EngineTests {
  @Test(
    "A broken projection does not block another one", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func oneBroken(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    var broken = Counting()
    broken.name = "broken"
    try await withServices([engine.projector(beside: broken)]) {
      try await engine.append(20)
      try await engine.expectComplete(of: 1)
    }
  }

  @Test(
    "A new version with a parked stream is not activated by itself, and no generation number is reused",
    .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func unfitVersion(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    let generations = Generations(engine.pool)
    try await withServices([engine.projector()]) {
      try await engine.append(20)
      try await engine.expectComplete(of: 1)
      try await engine.migrate(toVersion: 2)
      try await withServices([engine.projector(version: 2)]) {
        try await engine.append(1, type: "Fragile")
        try await eventually("it has caught up, with a stream parked") {
          let live = try await engine.pool.query(
            "select 1 from projections.checkpoints where generation = 2 and mode = 'live' and owner is not null"
          ).count
          let parked = try await engine.pool.query("select generation from projections.parked").decode(Int.self)
          return live == Partitioning.standard.count && parked == [2]
        }
        let second = try #require(try await generations.all(of: ["counting"]).last)
        let reason = try await generations.activate(second, of: engine.store, byItself: true)
        #expect(reason?.contains("parked") == true, "\(reason ?? "it serves")")
      }
    }
    let both = try await generations.all(of: ["counting"])
    #expect(both.map(\.state) == [.serving, .building])
    let dead = try await generations.activate(both[1], of: engine.store)
    #expect(dead?.contains("have no projector") == true, "\(dead ?? "it serves")")
    #expect(try await generations.drop("counting", 2))
    var version2 = Counting()
    version2.version = 2
    let next = try await generations.add(
      Projection(version2), .standard, historyID: UUID(), state: .building)
    #expect(next == 3)
  }

  @Test(
    "A generation can be dropped while workers write to it", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: Feed.allCases)
  func dropUnderLoad(feed: Feed) async throws {
    let engine = Engine(feed: feed)
    let generations = Generations(engine.pool)
    let projection = Projection(Counting())
    try await withServices(engine.feeding(engine.projector())) {
      try await engine.append(20)
      try await engine.expectComplete(of: 1)
      for number in 2..<6 {
        let historyID = try await engine.store.historyID()
        let added = try await generations.add(
          projection, .standard, historyID: historyID, state: .building, activates: false)
        #expect(added == number)
        for _ in 0..<10 { try await engine.append(100) }
        #expect(try await generations.drop("counting", number))
      }
      try await engine.expectComplete(of: 201)
    }
  }
}
