import EventLoop
import Failures
import Foundation
import Postgres
import TestSupport
import Testing

@Suite("Pool", .tags(.integration), .needsServers)
struct PoolTests {
  @Test("Many tasks share a few connections", .freshDatabase())
  func sharing() async throws {
    let database = FreshDatabase.current!
    let pool = database.pool(.init(size: 3, acquireTimeout: .seconds(120)))
    try await withThrowingTaskGroup(of: Int.self) { group in
      for n in 0..<200 { group.addTask { try await pool.query("select \(n)").value(Int.self) } }
      var sum = 0
      for try await n in group { sum += n }
      #expect(sum == 19_900)
    }
    let count = try await pool.query("select count(*) from pg_stat_activity where datname = \(database.name)").value(
      Int.self)
    #expect(count <= 3)
    await pool.close()
  }

  @Test("A task that waits too long or finds the queue full gets an error, and the pool stays usable", .freshDatabase())
  func exhaustion() async throws {
    let pool = FreshDatabase.current.pool(.init(size: 1, acquireTimeout: .seconds(10), maximumWaiters: 2))
    let (held, release) = (Wakeup(), Wakeup())
    let holder = Task {
      try await pool.withConnection { _ in
        held.signal()
        await release.wait(upTo: .seconds(60))
      }
    }
    await held.wait(upTo: .seconds(60))
    let waiters = (0..<5).map { _ in Task { try await pool.query("select 1") } }
    for waiter in waiters {
      await #expect { _ = try await waiter.value } throws: { ($0 as? PostgresError)?.code == .poolExhausted }
    }
    release.signal()
    try await holder.value
    #expect(try await pool.query("select 1").value(Int.self) == 1)
    await pool.close()
    await #expect { try await pool.query("select 1") } throws: { ($0 as? PostgresError)?.code == .closed }
  }

  @Test("A cancelled task leaves the queue for a connection", .freshDatabase())
  func cancellation() async throws {
    let pool = FreshDatabase.current.pool(.init(size: 1, acquireTimeout: .seconds(60)))
    let (held, release) = (Wakeup(), Wakeup())
    let holder = Task {
      try await pool.withConnection { _ in
        held.signal()
        await release.wait(upTo: .seconds(60))
      }
    }
    await held.wait(upTo: .seconds(60))
    let waiter = Task { try await pool.query("select 1") }
    waiter.cancel()
    await #expect { _ = try await waiter.value } throws: { ($0 as? PostgresError)?.code == .cancelled }
    release.signal()
    try await holder.value
    #expect(try await pool.query("select 1").value(Int.self) == 1)
  }

  @Test("The pool detects a connection that was lost while idle before it leases it", .freshDatabase())
  func idleLoss() async throws {
    let pool = FreshDatabase.current.pool(.init(size: 2, acquireTimeout: .seconds(20), idleCheck: .zero))
    let pid = try await pool.withConnection { await $0.backendProcessID }
    let other = try await FreshDatabase.current.connect()
    try await other.query("select pg_terminate_backend(\(pid))")
    try await eventually("the backend is gone") {
      try await other.query("select count(*) from pg_stat_activity where pid = \(pid)").value(Int.self) == 0
    }
    for _ in 0..<5 { #expect(try await pool.query("select 1").value(Int.self) == 1) }
  }

  @Test("The first failure to connect is logged, the others are not")
  func waiting() async throws {
    let log = LogRecorder()
    let pool = PostgresPool(
      PostgresConfiguration(url: "postgres://a@127.0.0.1:1/b"), limits: .init(size: 1, acquireTimeout: .seconds(2)),
      logger: log.logger)
    for _ in 0..<2 { await #expect(throws: PostgresError.self) { try await pool.query("select 1") } }
    #expect(log.lines.count == 1 && log.lines[0].hasPrefix("info cannot connect yet"), "\(log.lines)")
  }

  @Test("A lease that ends inside a transaction does not pass the transaction on", .freshDatabase())
  func leftTransaction() async throws {
    let pool = FreshDatabase.current.pool(.init(size: 1, acquireTimeout: .seconds(20)))
    try await pool.withConnection { try await $0.execute("begin") }
    #expect(try await pool.withConnection { $0.isInTransaction } == false)
  }

  @Test("The lease of a role passes on when it expires or is released", .freshDatabase())
  func lease() async throws {
    let pool = FreshDatabase.current.pool()
    try await pool.query(
      "create table leases (name text primary key, holder uuid not null, expires_at timestamptz not null)")
    let first = Lease(PostgresLeases(pool, table: "leases"), name: "role", duration: .seconds(60))
    let second = Lease(PostgresLeases(pool, table: "leases"), name: "role", duration: .seconds(60))
    #expect(try await first.acquire())
    #expect(try await first.acquire())
    #expect(try await second.acquire() == false)
    #expect(await first.isHeld)
    #expect(await second.isHeld == false)
    await first.release()
    #expect(try await second.acquire())
    #expect(try await first.acquire() == false)
    try await pool.query("update leases set expires_at = clock_timestamp() - interval '1 second'")
    #expect(try await first.acquire())
    #expect(try await second.acquire() == false)
  }
}

@Suite("Migrations", .tags(.integration), .needsServers)
struct MigratorTests {
  private let schema = Schema(
    name: "things",
    migrations: [
      Migration(version: 1, name: "table", sql: "create table things (id bigint); select pg_sleep(0.05);"),
      Migration(
        version: 2, name: "column", sql: "alter table things add name text; insert into things values (1, 'one');"),
    ])

  @Test("Concurrent processes apply each migration once", .freshDatabase())
  func concurrently() async throws {
    let database = FreshDatabase.current!
    let applied = try await withThrowingTaskGroup(of: [String].self) { group in
      for _ in 0..<6 { group.addTask { try await database.connect().migrate(schema) } }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    #expect(applied.sorted() == ["things 1 table", "things 2 column"])
    let connection = try await database.connect()
    #expect(try await connection.migrate(schema).isEmpty)
    #expect(try await connection.version(of: schema) == 2)
    #expect(try await connection.query("select count(*) from things").value(Int.self) == 1)
  }

  @Test("A failed migration rolls back all migrations of its run", .freshDatabase())
  func failing() async throws {
    let connection = try await FreshDatabase.current.connect()
    let broken = Schema(
      name: "things",
      migrations: [schema.migrations[0], Migration(version: 2, name: "broken", sql: "create table t (id nonsense);")])
    await #expect(throws: PostgresError.self) { try await connection.migrate(broken) }
    #expect(try await connection.version(of: broken) == 0)
    #expect(try await connection.migrate(schema).count == 2)
  }

  @Test("A migration that was changed after it was applied is rejected", .freshDatabase())
  func changed() async throws {
    let connection = try await FreshDatabase.current.connect()
    _ = try await connection.migrate(schema)
    let changed = Schema(
      name: "things",
      migrations: [Migration(version: 1, name: "table", sql: "create table things (id text);"), schema.migrations[1]])
    await #expect(throws: MigrationError.self) { try await connection.migrate(changed) }
  }
}

@Suite("A killed or stalled PostgreSQL server", .tags(.integration, .system), .needsServers)
struct KilledServerTests {
  @Test("A statement in flight reports a lost connection, and the pool works again after a restart", .whenThereIsRoom)
  func killed() async throws {
    let server = try PrivateServer(.postgres)
    let url = try await server.url()
    let pool = PostgresPool(
      PostgresConfiguration(url: url), limits: .init(size: 3, acquireTimeout: .seconds(60)), logger: .quiet)
    try await pool.query("create table t (n bigint)")
    try await pool.query("insert into t values (1)")
    let sleeping = Task { try await pool.query("select pg_sleep(600)") }
    try await eventually("the statement runs") {
      try await pool.query("select count(*) from pg_stat_activity where wait_event = 'PgSleep'").value(Int.self) == 1
    }
    server.process.signal(SIGKILL)
    await #expect { _ = try await sleeping.value } throws: { ($0 as? PostgresError)?.code == .connectionLost }
    try await server.process.wait()
    let impatient = PostgresPool(
      PostgresConfiguration(url: url), limits: .init(size: 1, acquireTimeout: .milliseconds(300)), logger: .quiet)
    await #expect { try await impatient.query("select 1") } throws: { ($0 as? PostgresError)?.failureKind == .retry }

    let restarted = try PrivateServer(.postgres, inPlaceOf: server)
    #expect(try await pool.query("select n from t").value(Int.self) == 1)
    restarted.process.signal(SIGINT)
    try await restarted.process.wait()
  }

  @Test("A suspended server causes a timeout, and the pool works again when the server resumes", .whenThereIsRoom)
  func stalled() async throws {
    let server = try PrivateServer(.postgres)
    let url = try await server.url()
    let pool = PostgresPool(
      PostgresConfiguration(url: url), limits: .init(size: 1, acquireTimeout: .seconds(60)), logger: .quiet)
    #expect(try await pool.query("select 1").value(Int.self) == 1)
    let stopped = try await server.process.suspend()
    await #expect {
      try await pool.query("select 1", timeout: .milliseconds(200))
    } throws: { ($0 as? PostgresError)?.code == .timeout }
    ChildProcess.resume(stopped)
    #expect(try await pool.query("select 2").value(Int.self) == 2)
    server.process.signal(SIGINT)
    try await server.process.wait()
  }
}
