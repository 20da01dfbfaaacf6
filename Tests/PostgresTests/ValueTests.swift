import Foundation
import Postgres
import TestSupport
import Testing

@Suite("Values", .tags(.integration), .needsServers)
struct ValueTests {
  private func roundTrip<Value: PostgresEncodable & PostgresDecodable & Equatable>(
    _ values: [Value], as type: String
  ) async throws {
    let connection = try await FreshDatabase.current.connect()
    for value in values {
      let query = Query("select $1::\(type)", [PostgresValue(value)])
      #expect(try await connection.query(query).value(Value.self) == value)
    }
  }

  @Test("Scalars come back as they were sent", .freshDatabase())
  func scalars() async throws {
    try await roundTrip([true, false], as: "boolean")
    try await roundTrip([Int64.min, -1, 0, 1, .max], as: "bigint")
    try await roundTrip([Int32.min, 0, .max], as: "integer")
    try await roundTrip([0, -0.5, Double.pi, .infinity, .greatestFiniteMagnitude], as: "double precision")
    try await roundTrip(["", "plain", "quote ' \" \\ \n", "ünï 🎁", String(repeating: "x", count: 100_000)], as: "text")
    try await roundTrip([UUID(), UUID()], as: "uuid")
    try await roundTrip([PostgresBytes([]), PostgresBytes([0, 1, 255, 0])], as: "bytea")
    try await roundTrip(
      [-1, 0, 1_764_000_000_123_456].map { PostgresTimestamp(microsecondsSince1970: $0) }, as: "timestamptz")
  }

  @Test("NULL and arrays come back as they were sent", .freshDatabase())
  func nullsAndArrays() async throws {
    let connection = try await FreshDatabase.current.connect()
    let none = Query("select $1::text", [PostgresValue(String?.none)])
    #expect(try await connection.query(none).value(String?.self) == nil)
    let texts: [String?] = ["a", nil, "", "{,\"}"]
    #expect(try await connection.query("select \(array: texts)").value(PostgresArray<String?>.self).elements == texts)
    let empty: [Int64] = []
    #expect(try await connection.query("select \(array: empty)").value(PostgresArray<Int64>.self).elements == empty)
    let ids = (0..<1000).map { _ in UUID() }
    #expect(try await connection.query("select \(array: ids)").value(PostgresArray<UUID>.self).elements == ids)
    let count = try await connection.query("select cardinality(\(array: ids))").value(Int.self)
    #expect(count == 1000)
  }

  @Test("A timestamp means the same instant as PostgreSQL's text", .freshDatabase())
  func timestamps() async throws {
    let connection = try await FreshDatabase.current.connect()
    let value = try await connection.query("select '2026-11-21T09:30:00.000001Z'::timestamptz").value(
      PostgresTimestamp.self)
    #expect(value.microsecondsSince1970 == 1_795_253_400_000_001)
  }

  @Test("Decoding a NULL, another type or a value out of range is an error", .freshDatabase())
  func mismatches() async throws {
    let connection = try await FreshDatabase.current.connect()
    func expectDecodingError<Value: PostgresDecodable>(_ query: Query, _: Value.Type) async throws {
      let rows = try await connection.query(query)
      #expect { try rows.value(Value.self) } throws: { ($0 as? PostgresError)?.code == .decoding }
    }
    try await expectDecodingError("select 'text'", Int64.self)
    try await expectDecodingError("select 1", String.self)
    try await expectDecodingError("select null::bigint", Int64.self)
    try await expectDecodingError("select 1 where false", Int64.self)
    try await expectDecodingError("select array[[1,2],[3,4]]::bigint[]", PostgresArray<Int64>.self)
    try await expectDecodingError("select 4294967296::bigint", Int32.self)
    try await expectDecodingError("select 'infinity'::timestamptz", PostgresTimestamp.self)
    let row = try await connection.query("select 1::bigint")
    #expect { try row.decode((Int64, Int64).self) } throws: { ($0 as? PostgresError)?.code == .decoding }
  }

  @Test("Interpolated values are always sent as parameters", .freshDatabase())
  func injection() async throws {
    let connection = try await FreshDatabase.current.connect()
    let text = "'; drop table students; --"
    let query: Query = "select \(text) as a, \(7) as b"
    #expect(query.sql == "select $1 as a, $2 as b")
    // Text format: the server infers the type from the cast.
    #expect(try await connection.query("select (\(untyped: "1.50")::numeric * 2)::text").value(String.self) == "3.00")
    #expect(try await connection.query(query).decode((String, Int).self)[0] == (text, 7))
  }
}
