import CoreMetrics
import EventSourcing
import Foundation
import JSON
import Logging
import MetricsTestKit
import Postgres
import PostgresEventStore
import RabbitMQ
import RabbitMQFeed
import ServiceLifecycle
import TestSupport
import Testing

@testable import Projections

enum ThingEvent: DomainEvent, Hashable {
  case happened, returned, ended, fragile, unknown, shared, ignored

  /// The wire names are the names of the cases with a capital letter.
  init?(name: String) {
    let all: [ThingEvent] = [.happened, .returned, .ended, .fragile, .unknown, .shared, .ignored]
    guard let event = all.first(where: { $0.name == name }) else { return nil }
    self = event
  }

  var name: String { "\(self)".capitalized }
  func encode(into json: inout JSONWriter) throws -> String {
    json.object { _ in }
    return name
  }
  static func decode(_ name: String, _ data: JSON) throws(EventDecodingError) -> ThingEvent? {
    ThingEvent(name: name)
  }
}

struct Thing: Aggregate {
  static let category = "thing"
  mutating func apply(_ event: ThingEvent) {}
}

/// Counts each stream's events and records their order; sums the counts by the last digits of the streams' names.
struct Counting: ReadModel {
  struct Row: Sendable, Codable {
    var count = 0
    var versions: [Int64] = []
    var digit = ""
  }

  var name = "counting"
  var version = 1
  /// Called for each batch before it is folded.
  var preparing: @Sendable () throws -> Void = {}
  /// The number of last digits.
  var digits = 1

  let columns = [Column<Row>("count", \.count)]

  var totals: [Totals<Row>] {
    [Totals("\(name)_digits", by: [.text("digit", \.digit)], [.count("streams"), .sum("events") { Int64($0.count) }])]
  }

  var sources: [RowSource<Row>] {
    [
      RowSource(Thing.self) { event in
        event.event == .ignored ? [] : [event.event == .shared ? "shared" : event.stream.rawValue]
      } _: { [version, digits] event, _, row in
        var changed = row ?? Row()
        changed.count += 1
        changed.versions.append(event.version.rawValue)
        changed.digit = String(event.stream.rawValue.suffix(digits))
        if event.event == .fragile, version > 1 { throw ProjectionsError("too fragile for version \(version)") }
        if event.event == .unknown { throw EventDecodingError.unknownType("Unknown", schemaVersion: 1) }
        row = event.event == .ended ? nil : changed
      }
    ]
  }

  func prepared(for events: [RecordedEvent], until end: Position?) async throws -> Self {
    try preparing()
    return self
  }
}

let tables = readModelsSchema([Projection(Counting())])

/// How events reach the projectors of a test.
enum Feed: CaseIterable { case rabbitMQ, postgres }

/// A store, a feed and projectors, in the test's own database and virtual host.
struct Engine: Sendable {
  var feed = Feed.rabbitMQ
  var pool = FreshDatabase.current.pool(.init(size: 24, acquireTimeout: .seconds(60)))
  var broker: RabbitMQConfiguration { FreshVirtualHost.current.configuration }
  var store: PostgresEventStore { PostgresEventStore(pool) }

  /// The projectors and the services of their feed.
  func feeding(_ projectors: Projector...) -> [any Service] {
    switch feed {
    case .rabbitMQ: [relay()] + projectors
    case .postgres: projectors
    }
  }

  func relay(integrating: Bool = false) -> Relay {
    var settings = Relay.Settings()
    // A relay that loses its lease while it is slow restarts at the store's end. No test here covers that.
    settings.leaseDuration = .seconds(60)
    settings.following.pollInterval = .milliseconds(100)
    return Relay(
      pool, RabbitMQPublisher(broker, exchanges: [LiveFeed.exchange], logger: .quiet),
      integration: integrating
        ? RabbitMQPublisher(broker, exchanges: [IntegrationFeed.exchange], logger: .quiet) : nil, settings: settings,
      logger: .quiet)
  }

  func projector(
    headInterval: Duration = .milliseconds(300), batchSize: Int = 50, version: Int = 1,
    partitioning: Partitioning = .standard, parkLimit: Int = 20, memory: Int? = nil, digits: Int = 1,
    beside other: Counting? = nil, preparing: @escaping @Sendable () throws -> Void = {}
  ) -> Projector {
    var settings = Projector.Settings()
    // Long enough for a busy machine to renew it in time.
    settings.leaseDuration = .seconds(4)
    settings.headInterval = headInterval
    settings.haltRetry = .milliseconds(300)
    settings.batchSize = batchSize
    settings.partitioning = partitioning
    settings.parkLimit = parkLimit
    if let memory { settings.memory = memory }
    var projection = Counting()
    projection.version = version
    projection.preparing = preparing
    projection.digits = digits
    return Projector(
      (other.map { [Projection($0)] } ?? []) + [Projection(projection)], readStore: pool, writeStore: pool,
      feed: eventFeed, settings: settings, logger: .quiet)
  }

  private var eventFeed: any EventFeed {
    switch feed {
    case .rabbitMQ: RabbitMQFeed(broker, upkeepInterval: .milliseconds(500), logger: .quiet)
    case .postgres: PostgresFeed(pool, pollInterval: .milliseconds(100), logger: .quiet)
    }
  }

  /// Migrates the tables to a new version of the read model.
  func migrate(toVersion version: Int) async throws {
    var model = Counting()
    model.version = version
    _ = try await FreshDatabase.current.connect().migrate(readModelsSchema([Projection(model)]))
  }

  /// Adds the first generation of `Counting` without a projector.
  func firstGeneration() async throws -> Generation {
    let number = try await Generations(pool).add(
      Projection(Counting()), .standard, historyID: try await store.historyID(), state: .serving)
    #expect(number == 1)
    return try #require(try await Generations(pool).all(of: ["counting"]).first)
  }

  func append(_ count: Int, streams: Int = 20, type: String = "Happened") async throws {
    let events = (0..<count).map { n in
      NewEvent(
        stream: StreamID(rawValue: "thing-\(n % streams)"), id: .v7(), type: type, schemaVersion: 1,
        data: Array("{}".utf8),
        metadata: Array("{}".utf8))
    }
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: events))
  }

  /// Waits until a lone projector has all assignments and receives the live feed.
  func expectFeed(of projector: Projector) async throws {
    try await eventually("the feed is connected") {
      let owned = try await pool.query("select 1 from projections.checkpoints where owner is not null").count
      return owned == Partitioning.standard.count && (try? projector.checkFeed()) != nil
    }
  }

  /// Appends to all 20 streams until every event so far has come through the feed. Events from before the relay leads
  /// are not published; the next event of each partition reveals that gap.
  func expectFlow(_ rounds: inout Int) async throws {
    var count = rounds
    try await eventually("the feed flows") {
      try await append(20)
      count += 1
      try await Task.sleep(for: .milliseconds(100))
      return try await pool.query("select count(*) from read_models.counting where count = \(count)").value(Int.self)
        == 20
    }
    rounds = count
  }

  /// Waits until every event is counted, and checks that each was counted once and in order.
  func expectComplete(streams: Int = 20, of each: Int) async throws {
    try await eventually("every event is counted") {
      try await pool.query("select coalesce(sum(count), 0)::bigint from read_models.counting").value(Int.self)
        >= streams * each
    }
    let rows = try await pool.query("select key, document from read_models.counting").decode(
      (String, PostgresBytes).self)
    #expect(rows.count == streams)
    for (key, bytes) in rows {
      let document = try JSONDecoder().decode(Counting.Row.self, from: Data(bytes.bytes))
      #expect(document.versions == (0..<each).map { Int64($0) + 1 }, "\(key)")
    }
    let sums = try await pool.query("select sum(streams)::bigint, sum(events)::bigint from read_models.counting_digits")
      .decode((Int, Int).self)
    #expect(sums[0] == (streams, streams * each))
  }
}

/// Runs services while `body` lasts, then shuts them down gracefully.
/// - Parameter metrics: Records the metrics of these services.
func withServices(
  _ services: [any Service], _ metrics: TestMetrics? = nil, _ body: () async throws -> Void
) async throws {
  let group = ServiceGroup(services: services, logger: .quiet)
  try await withThrowingTaskGroup(of: Void.self) { tasks in
    tasks.addTask {
      guard let metrics else { return try await group.run() }
      try await withMetricsFactory(metrics) { try await group.run() }
    }
    let result: Result<Void, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    await group.triggerGracefulShutdown()
    try await tasks.waitForAll()
    try result.get()
  }
}
