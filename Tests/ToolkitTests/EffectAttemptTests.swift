import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import Reactions

@Suite("The record of attempts", .tags(.integration), .needsServers)
struct EffectAttemptTests {
  @Test("A call whose first attempt has succeeded late is not made again", .freshDatabase(eventStoreSchema))
  func lateSuccess() async throws {
    let pool = FreshDatabase.current.pool()
    let table = PostgresAttempts(of: "telling", EffectLimits(), pool)
    let stream = StreamID(rawValue: "thing-1")
    let event = RecordedEvent(
      position: Position(1), stream: stream, version: Version(1), hash: stream.hash, id: UUID(), type: "Happened",
      schemaVersion: 1, data: Array("{}".utf8), metadata: Array("{}".utf8), recordedAt: .now)
    func begin() async throws -> String {
      switch try await table.begin([.init(key: "call", event: event)])[0] {
      case .perform(let begun): "perform \(begun.number)"
      case .hasSucceeded: "has succeeded"
      case .isUnderWay(let number): "\(number) is under way"
      case .hasFailed: "has failed"
      }
    }
    #expect(try await begin() == "perform 1")
    // Its process seems to be gone.
    try await pool.query("update event_store.effect_attempts set started_at = started_at - interval '1 hour'")
    #expect(try await begin() == "perform 2")
    try await table.finish([.init(key: "call", number: 1, end: .init(outcome: .succeeded), isNoted: false)])
    try await table.finish(
      [.init(key: "call", number: 2, end: .init(outcome: .failed, error: "refused", delay: .zero), isNoted: true)])
    #expect(try await begin() == "has succeeded")
  }
}
