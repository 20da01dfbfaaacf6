import Failures
import Foundation
import Postgres
import Synchronization
import TestSupport
import Testing

@Suite("Connection", .tags(.integration), .needsServers)
struct ConnectionTests {
  @Test("The log text of a failed insert names the constraint and hides the row", .freshDatabase())
  func refusedRow() async throws {
    let connection = try await FreshDatabase.current.connect()
    try await connection.execute("create table people (name text check (name <> 'Ada Lovelace'))")
    do {
      try await connection.query("insert into people values (\("Ada Lovelace"))")
      Issue.record("it was taken")
    } catch {
      #expect(error.detail?.contains("Ada Lovelace") == true && error.constraint == "people_name_check")
      #expect(!"\(error)".contains("Ada") && "\(error)".contains("people_name_check"))
    }
  }

  @Test("A server error carries SQLSTATE and constraint, and leaves the connection usable", .freshDatabase())
  func errors() async throws {
    let connection = try await FreshDatabase.current.connect()
    try await connection.execute("create table t (id bigint constraint t_key primary key)")
    try await connection.query("insert into t values (\(1))")
    await #expect {
      try await connection.query("insert into t values (\(1))")
    } throws: {
      let error = $0 as? PostgresError
      return error?.sqlState == .uniqueViolation && error?.constraint == "t_key" && error?.failureKind == .refused
    }
    #expect(try await connection.query("select count(*) from t").value(Int.self) == 1)
  }

  @Test("An unreachable server and a missing database give different errors")
  func connecting() async throws {
    await #expect {
      _ = try await PostgresConnection.connect(PostgresConfiguration(url: "postgres://a:b@127.0.0.1:1/c"))
    } throws: { ($0 as? PostgresError)?.code == .connectionFailed && "\($0)".contains("b@") == false }
    let url = TestEnvironment.postgresURL.replacing("/postgres", with: "/missing", maxReplacements: 2)
    await #expect {
      _ = try await PostgresConnection.connect(PostgresConfiguration(url: String(url)))
    } throws: { ($0 as? PostgresError)?.message.contains("does not exist") == true }
  }

  @Test("A transaction whose body throws changes nothing", .freshDatabase())
  func transactions() async throws {
    struct GivingUp: Error {}
    let connection = try await FreshDatabase.current.connect()
    try await connection.execute("create table t (id bigint)")
    await #expect(throws: GivingUp.self) {
      try await connection.transaction { connection in
        try connection.query("insert into t values (1)")
        throw GivingUp()
      }
    }
    #expect(connection.isInTransaction == false)
    // A body that continues after a failed statement is not reported as committed.
    await #expect {
      try await connection.transaction { connection in
        try connection.query("insert into t values (1)")
        _ = try? connection.query("nonsense")
      }
    } throws: { ($0 as? PostgresError)?.code == .misuse }
    let count = try await connection.transaction { connection in
      try connection.query("insert into t values (2)")
      return try connection.query("select count(*) from t").value(Int.self)
    }
    #expect(count == 1)
  }

  @Test("Transactions of many tasks on one connection do not interleave", .freshDatabase())
  func isolation() async throws {
    let connection = try await FreshDatabase.current.connect()
    try await connection.execute("create table t (n bigint); insert into t values (0)")
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<50 {
        group.addTask {
          try await connection.transaction { connection in
            let n = try connection.query("select n from t").value(Int64.self)
            try connection.query("update t set n = \(n + 1)")
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try await connection.query("select n from t").value(Int64.self) == 50)
  }

  @Test("A statement past its timeout is cancelled at the server, and the connection stays usable", .freshDatabase())
  func timeout() async throws {
    let connection = try await FreshDatabase.current.connect()
    await #expect {
      try await connection.query("select pg_sleep(600)", timeout: .milliseconds(100))
    } throws: { ($0 as? PostgresError)?.code == .timeout }
    #expect(try await connection.query("select 1").value(Int.self) == 1)
  }

  @Test("Cancelling the task cancels the statement at the server", .freshDatabase())
  func cancellation() async throws {
    let connection = try await FreshDatabase.current.connect()
    let other = try await FreshDatabase.current.connect()
    let pid = await connection.backendProcessID
    let task = Task { try await connection.query("select pg_sleep(600)") }
    let isSleeping: Query = "select count(*) from pg_stat_activity where pid = \(pid) and wait_event = 'PgSleep'"
    try await eventually("the statement runs") { try await other.query(isSleeping).value(Int.self) == 1 }
    task.cancel()
    await #expect { try await task.value } throws: { ($0 as? PostgresError)?.code == .cancelled }
    try await eventually("it ended") { try await other.query(isSleeping).value(Int.self) == 0 }
    #expect(connection.isUsable)
  }

  @Test("A blocked connection does not block the cooperative pool", .freshDatabase())
  func cooperativePool() async throws {
    // More connections block than the pool has threads. Other queries still run.
    let database = FreshDatabase.current!
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<16 {
        group.addTask { _ = try? await database.connect().query("select pg_sleep(600)") }
      }
      let free = try await database.connect()
      let sleeping: Query =
        "select count(*) from pg_stat_activity where datname = \(database.name) and wait_event = 'PgSleep'"
      try await eventually("all block") { try await free.query(sleeping).value(Int.self) == 16 }
      group.cancelAll()
    }
  }

  @Test("Statements work beyond the prepared-statement limit and after a table changes", .freshDatabase())
  func statements() async throws {
    let connection = try await FreshDatabase.current.connect()
    for n in 0..<600 {
      #expect(try await connection.query(Query("select \(n)", [])).value(Int.self) == n)
    }
    try await connection.execute("create table t (a bigint); insert into t values (1)")
    #expect(try await connection.query("select * from t")[0].column(0, as: Int.self) == 1)
    try await connection.execute("alter table t alter a type text")
    #expect(try await connection.query("select * from t")[0].column(0, as: String.self) == "1")
    try await connection.execute("discard all")
    #expect(try await connection.query("select * from t")[0].column(0, as: String.self) == "1")
  }

  @Test("A terminated backend is reported as a lost connection", .freshDatabase())
  func termination() async throws {
    let connection = try await FreshDatabase.current.connect()
    let other = try await FreshDatabase.current.connect()
    let pid = await connection.backendProcessID
    let task = Task { try await connection.query("select pg_sleep(600)") }
    try await eventually("the statement runs") {
      try await other.query("select count(*) from pg_stat_activity where pid = \(pid) and wait_event = 'PgSleep'")
        .value(Int.self) == 1
    }
    try await other.query("select pg_terminate_backend(\(pid))")
    await #expect {
      try await task.value
    } throws: {
      let error = $0 as? PostgresError
      return error?.code == .connectionLost && error?.outcomeIsUnknown == true && error?.failureKind == .retry
    }
    #expect(connection.isUsable == false)
    await #expect { try await connection.query("select 1") } throws: { ($0 as? PostgresError)?.code == .closed }
  }
}

@Suite("Pipeline, COPY and LISTEN", .tags(.integration), .needsServers)
struct BulkTests {
  @Test("A pipeline returns results in order, and a failed query does not affect the others", .freshDatabase())
  func pipeline() async throws {
    let connection = try await FreshDatabase.current.connect()
    let queries: [Query] = (0..<500).map { n in n % 100 == 7 ? "select 1 / \(n - n)" : "select \(n)" }
    let answers = try await connection.pipeline(queries)
    #expect(answers.count == 500)
    for (n, answer) in answers.enumerated() {
      switch answer {
      case .success(let rows): #expect(try rows.value(Int.self) == n)
      case .failure(let error): #expect(n % 100 == 7 && error.sqlState?.rawValue == "22012")
      }
    }
    #expect(try await connection.query("select \(7)").value(Int.self) == 7)
    // A statement that cannot be prepared fails alone, also the second time.
    for _ in 0..<2 {
      let mixed = try await connection.pipeline(["select 1", "select * from missing", "select 2"])
      #expect(try mixed[2].get().value(Int.self) == 2)
      #expect(throws: PostgresError.self) { try mixed[1].get() }
    }
  }

  @Test("A pipeline larger than every buffer does not stall", .freshDatabase())
  func largePipeline() async throws {
    let connection = try await FreshDatabase.current.connect()
    let text = String(repeating: "x", count: 50_000)
    let answers = try await connection.pipeline((0..<400).map { _ in "select \(text)" })
    #expect(try answers.allSatisfy { try $0.get().value(String.self) == text })
  }

  @Test("COPY moves rows in and out, including special characters", .freshDatabase())
  func copy() async throws {
    let connection = try await FreshDatabase.current.connect()
    try await connection.execute("create table t (id bigint, text text)")
    let texts = ["plain", "tab\t", "line\nbreak", "back\\slash", "\\N", "", "ünï 🎁"]
    let stored = try await connection.copyIn("copy t from stdin") { copy in
      for n in 0..<20_000 { try copy.write(row: [String(n), n == 5 ? nil : texts[n % texts.count]]) }
    }
    #expect(stored == 20_000)
    let rows = try await connection.query("select id, text from t order by id").decode((Int, String?).self)
    #expect(rows.allSatisfy { $0.1 == ($0.0 == 5 ? nil : texts[$0.0 % texts.count]) })
    let bytes = Mutex(0)
    let read = try await connection.copyOut("copy t to stdout") { row in bytes.withLock { $0 += row.count } }
    #expect(read == 20_000)
    #expect(bytes.withLock { $0 } > 200_000)
  }

  @Test("COPY takes bound arrays as columns, and tells whether an array fits the column's type", .freshDatabase())
  func columnCopy() async throws {
    let connection = try await FreshDatabase.current.connect()
    try await connection.execute(
      "create table t (id bigint, small integer, text text, json json, flag boolean, id2 uuid, at timestamptz, raw bytea)"
    )
    let (ids, uuid) = (Array(Int64(0)..<5000), UUID())
    let columns: [(String, String, PostgresValue)] = [
      ("id", "bigint", PostgresValue(PostgresArray(ids))),
      ("small", "integer", PostgresValue(PostgresArray(ids.map { $0 == 7 ? nil : Int32($0) }))),
      ("text", "text", PostgresValue(PostgresArray(ids.map { "tab\t\n🎁\($0)" }))),
      ("json", "json", PostgresValue(PostgresArray(ids.map { PostgresText(utf8: Array("[\($0)]".utf8)) }))),
      ("flag", "boolean", PostgresValue(PostgresArray(ids.map { $0 > 2 }))),
      ("id2", "uuid", PostgresValue(PostgresArray(ids.map { _ in uuid }))),
      ("at", "timestamptz", PostgresValue(PostgresArray(ids.map { PostgresTimestamp(microsecondsSince1970: $0) }))),
      ("raw", "bytea", PostgresValue(PostgresArray(ids.map { _ in PostgresBytes([0, 255]) }))),
    ]
    #expect(columns.allSatisfy { $0.2.isArray(of: $0.1) })
    #expect(!columns[1].2.isArray(of: "bigint") && !columns[2].2.isArray(of: "uuid"))
    #expect(!PostgresValue("text").isArray(of: "text"))
    #expect(try await connection.copyIn(into: "t", columns: columns.map { ($0.0, $0.2) }) == 5000)
    let sound = try await connection.query(
      """
      select count(*) from t where small is not distinct from nullif(id, 7) and text = E'tab\t\n🎁' || id
        and json->>0 = id::text and flag = (id > 2) and id2 = \(uuid) and raw = '\\x00ff'
        and at = '1970-01-01Z'::timestamptz + id * interval '1 microsecond'
      """
    ).value(Int.self)
    #expect(sound == 5000)
  }

  @Test("An abandoned COPY stores nothing and leaves the connection usable", .freshDatabase())
  func abandonedCopy() async throws {
    struct GivingUp: Error {}
    let connection = try await FreshDatabase.current.connect()
    try await connection.execute("create table t (id bigint)")
    await #expect(throws: GivingUp.self) {
      _ = try await connection.copyIn("copy t from stdin") { copy in
        for n in 0..<100_000 { try copy.write(row: [String(n)]) }
        throw GivingUp()
      }
    }
    #expect(try await connection.query("select count(*) from t").value(Int.self) == 0)
    await #expect(throws: GivingUp.self) {
      _ = try await connection.copyOut("copy (select generate_series(1, 10000000)) to stdout") { _ in throw GivingUp() }
    }
    #expect(try await connection.query("select 1").value(Int.self) == 1)
    await #expect { _ = try await connection.copyIn("copy t from stdin") { try $0.write(row: ["word"]) } } throws: {
      ($0 as? PostgresError)?.sqlState?.category == "22"
    }
    #expect(try await connection.query("select 1").value(Int.self) == 1)
  }

  @Test("Notifications arrive without a query, and the stream ends with the connection", .freshDatabase())
  func listen() async throws {
    let listener = try await FreshDatabase.current.connect()
    let other = try await FreshDatabase.current.connect()
    let notifications = try await listener.notifications(on: ["odd \"name\""])
    try await other.query("select pg_notify('odd \"name\"', 'one'), pg_notify('odd \"name\"', 'two')")
    var iterator = notifications.makeAsyncIterator()
    #expect(await iterator.next()?.payload == "one")
    #expect(await iterator.next()?.payload == "two")
    try await other.query("select pg_terminate_backend(\(await listener.backendProcessID))")
    #expect(await iterator.next() == nil)
  }
}
