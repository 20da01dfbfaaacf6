import EventSourcing
import Foundation
import Postgres
import Synchronization
import TestSupport
import Testing

@testable import Projections

@Suite("Rounds shared by lanes", .tags(.integration), .needsServers)
struct SharedRoundsTests {
  private final class Lane: Sendable {}
  private final class Tally: Sendable { let count = Mutex(0) }

  private let lanes = (0..<3).map { _ in Lane() }

  private func lane(_ number: Int) -> SharedRounds.Lane { ObjectIdentifier(lanes[number]) }

  /// Inserts the number with the id of the transaction.
  private func part(_ number: Int) -> RoundPart {
    part(load: "select \(Int64(number))") { rows in
      let number = try #require(try rows?.value(Int64.self))
      return [.query("insert into written values (\(number), txid_current()::text::bigint)")]
    }
  }

  private func part(
    load: Query? = nil, _ statements: @escaping @Sendable (ResultSet?) throws -> [Statement]
  ) -> RoundPart {
    let generation = Generation(
      projection: "none", number: 1, version: 1, partitioning: .single, state: .serving, from: .start, until: nil,
      activates: true)
    let plan = BatchPlan(load: load, statements: statements, inMemory: { _ in .init() })
    return RoundPart(generation: generation, rows: plan)
  }

  private func table() async throws -> PostgresPool {
    var configuration = FreshDatabase.current.configuration
    configuration.statementTimeout = .seconds(2)
    let pool = PostgresPool(configuration, limits: .init(size: 4, acquireTimeout: .seconds(20)), logger: .quiet)
    try await pool.query("create table written (number bigint primary key, transaction bigint)")
    try await pool.query("create table held (number bigint)")
    return pool
  }

  @Test("Parts that are ready together share a transaction, and each loads its own rows", .freshDatabase())
  func together() async throws {
    let pool = try await table()
    // Long enough for a busy machine to deliver both parts.
    let rounds = SharedRounds(PostgresProjectionStore(pool), worker: UUID(), patience: .seconds(60))
    rounds.expect([lane(0), lane(1), lane(2)])
    async let first: Void = rounds.write(part(0), of: lane(0))
    async let second: Void = rounds.write(part(1), of: lane(1))
    // This lane has nothing to write.
    rounds.settle(lane(2))
    _ = try await (first, second)
    let found = try await pool.query("select count(*), count(distinct transaction) from written")
      .decode((Int, Int).self)[0]
    #expect(found.0 == 2 && found.1 == 1)
  }

  @Test("A lane that never reports on its deliveries does not block a round", .freshDatabase())
  func silence() async throws {
    let pool = try await table()
    let rounds = SharedRounds(PostgresProjectionStore(pool), worker: UUID())
    rounds.expect([lane(0), lane(1)])
    try await rounds.write(part(0), of: lane(0))
    #expect(try await pool.query("select count(*) from written").value(Int.self) == 1)
  }

  @Test("A refused part fails alone", .freshDatabase())
  func refusal() async throws {
    let pool = try await table()
    let rounds = SharedRounds(PostgresProjectionStore(pool), worker: UUID())
    try await rounds.write(part(1), of: lane(1))
    rounds.expect([lane(0), lane(1)])
    async let good: Void = rounds.write(part(0), of: lane(0))
    let bad = Task { try await rounds.write(part(1), of: lane(1)) }
    try await good
    await #expect { try await bad.value } throws: { ($0 as? PostgresError)?.code == .server(.uniqueViolation) }
    let numbers: Query = "select array_agg(number order by number)::text from written"
    #expect(try await pool.query(numbers).value(String.self) == "{0,1}")
  }

  @Test("A lane that gets deliveries while it writes is not forgotten", .freshDatabase())
  func expectedMeanwhile() async throws {
    let pool = try await table()
    let rounds = SharedRounds(PostgresProjectionStore(pool), worker: UUID())
    let nothing = part { _ in [.query("select 1")] }
    let (one, done) = (lane(0), Tally())
    let giving = Task {
      while !Task.isCancelled { rounds.expect([one]) }
    }
    let writing = Task {
      for _ in 0..<2_000 {
        try await rounds.write(nothing, of: one)
        done.count.withLock { $0 += 1 }
      }
    }
    defer { giving.cancel() }
    try await eventually("all are written", within: .seconds(120)) { done.count.withLock { $0 } == 2_000 }
    try await writing.value
  }

  @Test("No lane is forgotten when many act at once", .freshDatabase())
  func crowd() async throws {
    let pool = try await table()
    let rounds = SharedRounds(PostgresProjectionStore(pool), worker: UUID())
    let nothing = part { _ in [.query("select 1")] }
    let done = Tally()
    let ids = (0..<3).map { lane($0) }
    let lanes = Task {
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (number, lane) in ids.enumerated() {
          group.addTask {
            var random = SplitMix(state: UInt64(number))
            for _ in 0..<2_000 {
              rounds.expect([lane])
              switch Int.random(in: 0..<3, using: &random) {
              case 0: rounds.settle(lane)
              case 1: try await rounds.write(nothing, of: lane)
              default: try await rounds.write(nothing, of: lane, isUrgent: false)
              }
              done.count.withLock { $0 += 1 }
            }
          }
        }
        try await group.waitForAll()
      }
    }
    try await eventually("all are written", within: .seconds(120)) { done.count.withLock { $0 } == 6_000 }
    try await lanes.value
  }

  @Test("A hanging part delays the other lanes for one round only", .freshDatabase())
  func hanging() async throws {
    let pool = try await table()
    let rounds = SharedRounds(PostgresProjectionStore(pool), worker: UUID())
    let holder = try await FreshDatabase.current.connect()
    try await holder.execute("begin; lock table held in access exclusive mode")
    let hangs = part { _ in [.query("insert into held values (1)")] }
    rounds.expect([lane(0), lane(1)])
    async let good: Void = rounds.write(part(0), of: lane(0))
    let bad = Task { try await rounds.write(hangs, of: lane(1)) }
    try await good
    await #expect(throws: PostgresError.self) { try await bad.value }
    // It keeps retrying while the others continue.
    let again = Task {
      while !Task.isCancelled {
        do { try await rounds.write(hangs, of: lane(1)) } catch is PostgresError {}
      }
    }
    for number in 1...50 {
      rounds.expect([lane(0), lane(1)])
      try await rounds.write(part(number), of: lane(0))
    }
    #expect(try await pool.query("select count(*) from written").value(Int.self) == 51)
    try await holder.execute("rollback")
    try await eventually("it goes on too") {
      try await pool.query("select count(*) > 0 from held").value(Bool.self)
    }
    again.cancel()
    try await again.value
  }
}
