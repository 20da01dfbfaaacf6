import Postgres
import TestSupport
import Testing

@Suite("Transactions with few round trips", .tags(.integration), .needsServers)
struct TransactionTests {
  private func connection() async throws -> PostgresConnection {
    let connection = try await FreshDatabase.current.connect()
    try await connection.execute(
      "create table t (number bigint primary key, transaction bigint not null default txid_current()::text::bigint)")
    return connection
  }

  private func insert(_ number: Int) -> Statement { .query("insert into t (number) values (\(Int64(number)))") }

  private func copy(_ numbers: [Int]) -> Statement {
    .copy(into: "t", columns: [("number", PostgresValue(PostgresArray(numbers.map(Int64.init))))])
  }

  private func numbers(_ connection: PostgresConnection) async throws -> [Int] {
    try await connection.query("select number from t order by 1").decode(Int.self)
  }

  private func transactions(_ connection: PostgresConnection) async throws -> Int {
    try await connection.query("select count(distinct transaction) from t").value(Int.self)
  }

  @Test(
    "All statements of a transaction take effect, or none does", .freshDatabase(),
    arguments: [[], ["select 1"]] as [[Query]])
  func whole(reading: [Query]) async throws {
    let connection = try await connection()
    try await connection.transaction(reading: reading) { answers in
      #expect(answers.count == reading.count)
      return [insert(1), insert(2), insert(3)]
    }
    #expect(try await numbers(connection) == [1, 2, 3])
    #expect(try await transactions(connection) == 1)
    await #expect {
      try await connection.transaction(reading: reading) { _ in [insert(4), insert(1), insert(5)] }
    } throws: {
      ($0 as? PostgresError)?.code == .server(.uniqueViolation)
    }
    // Also holds for other statements than before, and after a failure.
    try await connection.transaction(reading: reading) { _ in [.query("update t set transaction = 0"), insert(6)] }
    #expect(try await numbers(connection) == [1, 2, 3, 6])
  }

  @Test("A COPY is part of the transaction", .freshDatabase(), arguments: [[], ["select 1"]] as [[Query]])
  func copies(reading: [Query]) async throws {
    let connection = try await connection()
    try await connection.transaction(reading: reading) { _ in [insert(1), copy([2, 3]), insert(4)] }
    #expect(try await numbers(connection) == [1, 2, 3, 4])
    #expect(try await transactions(connection) == 1)
    await #expect(throws: PostgresError.self) {
      try await connection.transaction(reading: reading) { _ in [copy([5, 6]), insert(1)] }
    }
    await #expect(throws: PostgresError.self) {
      try await connection.transaction(reading: reading) { _ in [insert(5), copy([1])] }
    }
    #expect(try await numbers(connection) == [1, 2, 3, 4])
  }

  @Test(
    "A transaction whose body throws in Swift has no effect", .freshDatabase(),
    arguments: [[], ["select 1"]] as [[Query]])
  func thrown(reading: [Query]) async throws {
    let connection = try await connection()
    await #expect(throws: NeverHappened.self) {
      try await connection.transaction(reading: reading) { _ in throw NeverHappened(description: "on purpose") }
    }
    try await connection.transaction(reading: reading) { _ in [] }
    #expect(try await numbers(connection) == [])
  }

  @Test("A query that was not prepared, or was skipped after a failure, is prepared again", .freshDatabase())
  func preparing() async throws {
    let connection = try await connection()
    let queries: [Statement] = [.query("insert into later values (1)"), insert(7), insert(8)]
    await #expect { try await connection.transaction(reading: []) { _ in queries } } throws: {
      ($0 as? PostgresError)?.sqlState?.rawValue == "42P01"
    }
    try await connection.execute("create table later (number bigint)")
    try await connection.transaction(reading: []) { _ in queries }
    #expect(try await numbers(connection) == [7, 8])
  }
}
