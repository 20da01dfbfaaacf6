import EventSourcing
import Failures
import Postgres
import PostgresEventStore
import Projections
import TestSupport
import Testing

@testable import QueryKit

private struct Lamp: Aggregate {
  enum Event: DomainEvent, Codable { case switched(on: Bool) }

  static let category = "lamp"
  mutating func apply(_: Event) {}
}

/// Rows with a name that is not in the events.
private struct Lamps: ReadModel {
  struct Row: Codable { var name: String, switched: Int }

  let name = "lamps", version = 1
  var names: [String: String] = [:]

  var sources: [RowSource<Row>] {
    [
      RowSource<Row>(Lamp.self) { [names] event, row in
        row = Row(name: names["\(event.stream.id)"] ?? "unknown", switched: (row?.switched ?? 0) + 1)
      }
    ]
  }

  func prepared(for events: [RecordedEvent], until end: Position?) async throws -> Self {
    Lamps(names: Dictionary(events.map { ("\($0.stream.id)", "Lamp \($0.stream.id)") }) { $1 })
  }
}

@Suite("Queries", .tags(.integration), .needsServers)
struct QueryTests {
  @Test("A strong read prepares the read model as a projector does", .freshDatabase(eventStoreSchema))
  func preparedStrongRead() async throws {
    let pool = FreshDatabase.current.pool()
    let stream = Lamp.stream("1")
    let events = (1...1_001).map { _ in
      NewEvent(
        stream: stream, id: .v7(), type: "switched", schemaVersion: 1, data: Array(#"{"on":true}"#.utf8),
        metadata: Array("{}".utf8))
    }
    _ = try await PostgresEventStore(pool).append(AppendBatch(expectedVersions: [:], events: events))
    let row = try await Histories(pool, PersonalKeys(pool), sealed: []).row("1", of: stream, at: .now) { _ in Lamps() }
    #expect(row.map { String(decoding: $0.bytes, as: UTF8.self) } == #"{"name":"Lamp 1","switched":1001}"#)
    #expect(row?.version == 1_001)
  }

  private struct Room: Codable { var id: String, lampCount: Int, note: String? }

  private func problem(_ sql: String, on pool: PostgresPool) async throws -> String? {
    let route = QueryRoute.row("/v1/rooms/{id}", Room.self, of: Lamps(), sql: sql)
    return try await OwnQueryCheck([(route.path, try #require(route.probe))]).problem(on: pool)
  }

  @Test("Hand-written SQL that cannot run, or lacks a column of the row, is found at the start", .freshDatabase())
  func ownSQL() async throws {
    let pool = FreshDatabase.current.pool()
    try await pool.query("create schema read_models")
    let sql = #"select room as id, count(*) as "lampCount" from read_models.lamps where room = {id} group by 1"#
    // A projector makes the table later.
    #expect(try await problem(sql, on: pool) == nil)
    try await pool.query("create table read_models.lamps (room text, lit boolean)")
    #expect(try await problem(sql, on: pool) == nil)
    let unquoted = try await problem(sql.replacing("\"", with: ""), on: pool)
    #expect(
      unquoted?.contains("/v1/rooms/{id}") == true && unquoted?.contains("q.lampCount") == true, "\(unquoted ?? "")")
    #expect(try await problem(sql.replacing("room", with: "rom"), on: pool)?.contains("\"rom\"") == true)
    #expect(try await problem("select", on: pool)?.contains("q.id") == true)
    #expect(try await problem("selec 1", on: pool)?.contains("syntax error") == true)
  }
}
