import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import Synchronization
import TestSupport
import Testing

@testable import Projections

@Suite("The feed from PostgreSQL alone", .tags(.integration), .needsServers)
struct PostgresFeedTests {
  /// Records what arrives.
  private final class Inbox: FeedReceiver {
    struct State {
      var positions: [Int64] = []
      var isConnected = false
      var errors = 0
    }

    let wantedPartitions: Set<Int>
    private let mutex = Mutex(State())

    init(wanting partitions: Set<Int>) { wantedPartitions = partitions }

    var state: State { mutex.withLock { $0 } }
    func connectionChanged(isConnected: Bool) { mutex.withLock { $0.isConnected = isConnected } }
    func receive(_ message: FeedMessage) {
      mutex.withLock { $0.positions += message.batches.flatMap(\.events).map(\.position.rawValue) }
    }
    func lost(_ error: any Error) { mutex.withLock { $0.errors += 1 } }
  }

  @Test("The feed delivers the events of the wanted partitions and no others", .freshDatabase(eventStoreSchema))
  func partitions() async throws {
    let engine = Engine()
    let partitioning = try #require(Partitioning(count: 2))
    let inbox = Inbox(wanting: [1])
    let feed = Task { [pool = engine.pool] in
      await PostgresFeed(pool, logger: .quiet).run(partitioning, to: inbox)
    }
    try await eventually("it is connected") { inbox.state.isConnected }
    try await engine.append(100)
    let wanted = try await engine.store.events(after: .start, limit: 100).filter {
      partitioning.partition(ofHash: $0.hash).index == 1
    }.map(\.position.rawValue)
    #expect((1..<100).contains(wanted.count))
    try await eventually("all of them have come") { inbox.state.positions.sorted() == wanted }
    feed.cancel()
    await feed.value
    #expect(inbox.state.errors == 0 && !inbox.state.isConnected)
  }

  @Test(
    "Receivers of different partitionings share one reader, which ends with the last of them",
    .freshDatabase(eventStoreSchema))
  func shared() async throws {
    let engine = Engine()
    let feed = PostgresFeed(engine.pool, logger: .quiet)
    let inboxes = [Inbox(wanting: Set(0..<4)), Inbox(wanting: [0])]
    let runs = zip(inboxes, [4, 1]).map { inbox, count in
      Task { await feed.run(Partitioning(count: count)!, to: inbox) }
    }
    try await eventually("both are connected") { inboxes.allSatisfy(\.state.isConnected) }
    try await engine.append(10)
    for inbox in inboxes {
      try await eventually("all events have come") { inbox.state.positions.sorted() == Array(1...10) }
    }
    #expect(try await listeners(engine) == 1)
    runs[0].cancel()
    await runs[0].value
    #expect(!inboxes[0].state.isConnected)
    try await eventually("the other one still gets events") {
      try await engine.append(1)
      return inboxes[1].state.positions.count > 10
    }
    runs[1].cancel()
    await runs[1].value
    try await eventually("no connection listens") { try await listeners(engine) == 0 }
    #expect(inboxes.allSatisfy { $0.state.errors == 0 && !$0.state.isConnected })
  }

  private func listeners(_ engine: Engine) async throws -> Int64 {
    try await engine.pool.query(
      """
      select count(*) from pg_stat_activity
      where datname = current_database() and starts_with(query, 'listen') and pid <> pg_backend_pid()
      """
    ).decode(Int64.self)[0]
  }

  @Test(
    "The feed continues after its connections were cut, and the store provides missed events",
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func cutConnections() async throws {
    let engine = Engine(feed: .postgres)
    let admin = try await FreshDatabase.current.connect()
    let appending = Engine(
      pool: PostgresPool(
        PostgresConfiguration(url: FreshDatabase.current.url, applicationName: "appending"),
        limits: .init(size: 4, acquireTimeout: .seconds(60)), logger: .quiet))
    // The heads are not read. The next event reveals what was missed.
    let projector = engine.projector(headInterval: .seconds(3600))
    try await withServices([projector]) {
      try await engine.expectFeed(of: projector)
      var (rounds, cuts) = (0, 0)
      try await appending.expectFlow(&rounds)
      for _ in 0..<10 {
        try await eventually("it is connected again") { (try? projector.checkFeed()) != nil }
        async let cut = admin.query(
          """
          select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid() and application_name <> 'appending'
          """)
        for _ in 0..<5 {
          try await appending.append(20)
          rounds += 1
        }
        cuts += try await cut.count
      }
      #expect(cuts > 0)
      try await appending.expectFlow(&rounds)
      try await appending.expectComplete(of: rounds)
    }
  }
}
