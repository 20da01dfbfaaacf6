import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import Projections

enum TripEvent: DomainEvent, Codable, Hashable {
  /// The legs of a trip and the cost of each. A leg's name is the key of its row.
  case travelled(legs: [String], cost: Int64, at: Timestamp)
  case called(off: String)

  /// The legs that the event changes.
  var concerned: [String] {
    switch self {
    case .travelled(let legs, _, _): legs
    case .called(let leg): [leg]
    }
  }
}

struct Trip: Aggregate {
  static let category = "trip"
  mutating func apply(_ event: TripEvent) {}
}

/// Several rows per event, and every kind of total.
struct Legs: ReadModel {
  struct Row: Codable, Sendable, Hashable {
    let trip: String
    let cost: Int64
    let at: Timestamp
  }

  var name = "legs"
  var version = 1
  var hasIndex = true

  let columns = [Column<Row>("trip", \.trip), Column("cost", \.cost), Column.tags("words") { ["trip", $0.trip] }]
  var indexes: [Index] { hasIndex ? ["trip"] : [] }
  let totals = [
    Totals<Row>(
      "legs_months", by: [.month("month", \.at)],
      [.count("legs"), .sum("cost", \.cost), .range("price", \.cost), .range("time", \.at)]),
    Totals("legs_all", by: [], [.count("legs")]),
  ]
  let sources = [
    RowSource<Row>(
      Trip.self, keys: { $0.event.concerned }
    ) { event, _, row in
      switch event.event {
      case .travelled(_, let cost, let at): row = Row(trip: event.id, cost: cost, at: at)
      case .called: row = nil
      }
    }
  ]
}

/// One row and one group for each name.
private struct Places: ReadModel {
  struct Row: Codable, Sendable { let name: String }

  let name = "places", version = 1
  let totals = [Totals<Row>("place_visits", by: [.text("place", \.name)], [.count("visits")])]
  let sources = [
    RowSource<Row>(
      Trip.self, keys: { $0.event.concerned }
    ) { _, key, row in row = Row(name: key) }
  ]
}

private let march = Timestamp("2026-03-05T10:00:00Z")!
private let april = Timestamp("2026-04-01T00:00:00Z")!

@Suite("Read models from declarations", .tags(.integration), .needsServers)
struct ReadModelTests {
  private static func schema(_ models: Legs...) -> Schema { readModelsSchema(models.map { Projection($0) }) }

  private func append(_ events: [(trip: String, event: TripEvent)], to engine: Engine) async throws {
    for (trip, event) in events {
      let new = try event.new(in: Trip.stream(trip), id: .v7(), metadata: Array("{}".utf8))
      _ = try await engine.store.append(AppendBatch(expectedVersions: [:], events: [new]))
    }
  }

  private func projector(_ model: Legs, _ engine: Engine) -> Projector {
    var settings = Projector.Settings()
    settings.leaseDuration = .seconds(4)
    settings.headInterval = .milliseconds(300)
    return Projector(
      [Projection(model)], readStore: engine.pool, writeStore: engine.pool,
      feed: PostgresFeed(engine.pool, logger: .quiet), settings: settings, logger: .quiet)
  }

  @Test(
    "An event adds, changes and deletes several rows, and totals follow, including ranges",
    .freshDatabase(eventStoreSchema, projectionsSchema, schema(Legs())))
  func severalRows() async throws {
    let engine = Engine()
    try await append(
      [
        ("1", .travelled(legs: ["a", "b", "c"], cost: 5, at: march)),
        ("2", .travelled(legs: ["d"], cost: 9, at: march)),
        ("1", .travelled(legs: ["b"], cost: 7, at: april)), ("2", .called(off: "d")),
        ("1", .travelled(legs: ["e"], cost: 1, at: march)), ("1", .called(off: "e")),
      ], to: engine)
    try await withServices([projector(Legs(), engine)]) {
      try await eventually("all is applied") {
        try await engine.pool.query("select coalesce(max(position), 0) from projections.checkpoints").value(Int.self)
          == 6
      }
      let rows = try await engine.pool.query(
        "select key, version, document->>'trip', cost, words from read_models.legs order by key"
      ).decode((String, Int, String, Int, String).self)
      #expect(rows.map(\.0) == ["a", "b", "c"])
      #expect(rows.map(\.1) == [1, 2, 1])
      #expect(rows.map(\.3) == [5, 7, 5] && rows.allSatisfy { $0.2 == "1" && $0.4 == "1\u{1F}trip" })
      let months = try await engine.pool.query(
        "select month::text, sum(legs)::bigint, sum(cost)::bigint from read_models.legs_months group by 1 order by 1"
      ).decode((String, Int, Int).self)
      #expect(
        months.map(\.0) == ["2026-03-01", "2026-04-01"] && months.map(\.1) == [2, 1] && months.map(\.2) == [10, 7])
      // Deleted legs no longer count.
      let prices = try await engine.pool.query(
        "select min(value), max(value) from read_models.legs_months_price where n > 0"
      ).decode((Int, Int).self)
      #expect(prices[0] == (5, 7))
      let times = try await engine.pool.query("select max(value) from read_models.legs_months_time where n > 0")
        .value(PostgresTimestamp.self)
      #expect(times.microsecondsSince1970 == april.microsecondsSince1970)
      #expect(try await engine.pool.query("select sum(legs)::bigint from read_models.legs_all").value(Int.self) == 3)
    }
    let generation = try #require(try await Generations(engine.pool).all(of: ["legs"]).first)
    let verified = try await Verification.verify(
      Projection(Legs()), generation, on: try await FreshDatabase.current.connect(), engine.store, partitions: nil)
    #expect(verified.holds && verified.rows == 3, "\(verified.findings)")
  }

  @Test(
    "Rows, streams and groups with different bytes stay separate, in a batch and in verification",
    .freshDatabase(eventStoreSchema, projectionsSchema, readModelsSchema([Projection(Places())])))
  func spelling() async throws {
    let engine = Engine()
    let spellings = ["\u{E9}", "e\u{301}", "\u{212A}", "K"]
    // Each spelling has its own stream and its own row, and all come in one batch.
    try await append(
      spellings.flatMap {
        [($0, .travelled(legs: [$0], cost: 1, at: march)), ($0, .travelled(legs: [$0], cost: 2, at: march))]
      },
      to: engine)
    var settings = Projector.Settings()
    settings.partitioning = try #require(Partitioning(count: 1))
    let projector = Projector(
      [Projection(Places())], readStore: engine.pool, writeStore: engine.pool,
      feed: PostgresFeed(engine.pool, logger: .quiet), settings: settings, logger: .quiet)
    try await withServices([projector]) {
      try await eventually("all is applied") {
        try await engine.pool.query("select coalesce(max(position), 0) from projections.checkpoints").value(Int.self)
          == 8
      }
      let rows = try await engine.pool.query("select key, version from read_models.places order by key")
        .decode((String, Int).self)
      #expect(
        rows.map { Array($0.0.utf8) } == spellings.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) })
      #expect(rows.allSatisfy { $0.1 == 2 })
      #expect(
        try await engine.pool.query("select sum(visits)::bigint from read_models.place_visits group by place")
          .decode(Int.self) == [1, 1, 1, 1])
    }
    let generation = try #require(try await Generations(engine.pool).all(of: ["places"]).first)
    let verified = try await Verification.verify(
      Projection(Places()), generation, on: try await FreshDatabase.current.connect(), engine.store, partitions: nil)
    #expect(verified.holds && verified.rows == 4, "\(verified.findings)")
  }

  @Test(
    "A row belongs to one stream, and a later event of another stream that claims it is parked",
    .freshDatabase(eventStoreSchema, projectionsSchema, schema(Legs())))
  func foreignRow() async throws {
    let engine = Engine()
    try await withServices([projector(Legs(), engine)]) {
      try await append(
        [("1", .travelled(legs: ["a"], cost: 5, at: march)), ("2", .travelled(legs: ["b"], cost: 5, at: march))],
        to: engine)
      try await eventually("both have their rows") {
        try await engine.pool.query("select 1 from read_models.legs").count == 2
      }
      // Not the first event of its stream, and the row exists.
      try await append([("2", .travelled(legs: ["c", "a"], cost: 100, at: march))], to: engine)
      try await eventually("it is parked") {
        try await engine.pool.query("select stream from projections.parked").decode(String.self) == ["trip-2"]
      }
      let error = try await engine.pool.query("select error from projections.parked").value(String.self)
      #expect(error.contains("the row a, which trip-2 claims"), "\(error)")
      let costs = try await engine.pool.query("select cost from read_models.legs order by key").decode(Int.self)
      #expect(costs == [5, 5])
    }
  }

  @Test(
    "Once rows exist, other columns, indexes or totals need a new version; older builds keep newer tables",
    .freshDatabase(eventStoreSchema, projectionsSchema, schema(Legs())))
  func declarations() async throws {
    let pool = Engine().pool
    let admin = try await FreshDatabase.current.connect()
    let (plain, new) = (Legs(hasIndex: false), Legs(version: 2, hasIndex: false))
    func indexes() async throws -> Int {
      try await pool.query("select 1 from pg_indexes where tablename = 'legs_shape'").count
    }
    // The indexes of the key, the tags and the trip.
    #expect(try await indexes() == 3)
    #expect(try await Projection.problem(with: [Projection(Legs())], on: pool) == nil)
    #expect(try await Projection.problem(with: [Projection(plain)], on: pool)?.contains("run migrate") == true)
    // Nothing is built yet, so the tables are recreated.
    _ = try await admin.migrate(Self.schema(plain))
    #expect(try await indexes() == 2)
    _ = try await admin.migrate(Self.schema(Legs()))
    _ = try await Generations(pool).add(Projection(Legs()), .standard, historyID: UUID(), state: .serving)
    let refused = await #expect(throws: PostgresError.self) { _ = try await admin.migrate(Self.schema(plain)) }
    let advice = "under the same version 1: raise its version"
    #expect(refused?.message.contains(advice) == true, "\(String(describing: refused))")
    #expect(try await indexes() == 3)
    _ = try await admin.migrate(Self.schema(new))
    #expect(try await indexes() == 2)
    // The serving tables stay unchanged.
    #expect(try await pool.query("select 1 from pg_indexes where tablename = 'legs_g1'").count == 3)
    _ = try await admin.migrate(Self.schema(Legs()))
    #expect(try await indexes() == 2)
    #expect(try await Projection.problem(with: [Projection(Legs())], on: pool) == nil)
    // The older build cannot add a generation in its own form.
    await #expect(throws: PostgresError.self) {
      try await Generations(pool).add(Projection(Legs()), .standard, historyID: UUID(), state: .building)
    }
    #expect(
      try await Generations(pool).add(Projection(new), .standard, historyID: UUID(), state: .building) == 2)
    await admin.close()
  }
}
