import CommandProcessing
import EventSourcing
import Foundation
import Logging
import Postgres
import PostgresEventStore
import Projections
import Reactions
import ServiceLifecycle
import TestSupport
import Testing

/// What is reported of a job.
enum JobEvent: DomainEvent, Codable, Hashable {
  case reported(number: Int)
  case ended
  case unreadable

  enum CodingKeys: String, CodingKey {
    case reported = "JobReported", ended = "JobEnded", unreadable = "JobUnreadable"
  }
}

struct Job: Aggregate {
  static let category = "job"
  mutating func apply(_ event: JobEvent) {}
}

/// What a reaction makes of reports: a log for each job.
enum LogEvent: DomainEvent, Codable, Hashable {
  case entered(number: Int)
  case closed
  case returned(code: String)

  enum CodingKeys: String, CodingKey { case entered = "LogEntered", closed = "LogClosed", returned = "LogReturned" }
}

struct Log: Aggregate {
  static let category = "log"
  var isClosed = false
  var entries = 0

  mutating func apply(_ event: LogEvent) {
    switch event {
    case .entered: entries += 1
    case .closed: isClosed = true
    case .returned: break
    }
  }
}

struct Enter: StreamCommand, Codable {
  var number: Int

  func decide(_ log: Log) throws(Rejection) -> [LogEvent] {
    guard !log.isClosed else { throw Rejection("closed", title: "The log is closed", detail: "Open another one.") }
    return [.entered(number: number)]
  }
}

/// Enters a number once the log has had no entry for some time.
struct EnterIfEmpty: StreamCommand, Codable {
  var number: Int

  func decide(_ log: Log) throws(Rejection) -> [LogEvent] {
    guard !log.isClosed else { throw Rejection("closed", title: "The log is closed", detail: "Open another one.") }
    return log.entries == 0 ? [.entered(number: number)] : []
  }
}

/// Enters each report in the log of its job.
struct Logging: Reaction {
  var name = "logging"
  var version = 1
  var start = ReactionStart.head
  var fallback: Fallback?
  /// Called for each event, maybe several times.
  var reacting: @Sendable (Int) throws -> Void = { _ in }
  /// Of other aggregates.
  var others: [Trigger] = []

  var triggers: [Trigger] {
    others + [
      Trigger(Job.self) { [fallback, reacting] event, todo in
        guard case .reported(let number) = event.event else { return }
        try reacting(number)
        todo.run(Enter(number: number), to: event.id, otherwise: fallback)
      }
    ]
  }
}

/// A job's reports, which are entered when they are three: from two streams, by the number that both name.
struct Gathering: ProcessManager {
  let name = "gathering"
  /// Called for each event, maybe several times.
  var reacting: @Sendable (Int) throws -> Void = { _ in }

  var triggers: [ProcessTrigger<Gathered>] {
    [
      ProcessTrigger(Job.self) { event in
        if case .reported(let number) = event.event { "\(number / 1_000)" } else { nil }
      } _: { [reacting] event, state, todo in
        guard case .reported(let number) = event.event else { return }
        try reacting(number)
        let key = "\(number / 1_000)"
        todo.emit(.gathered(number: number), to: Gathered.self, key)
        if state.numbers.count == 2 { todo.run(Enter(number: state.numbers.reduce(number, +)), to: key) }
      }
    ]
  }
}

enum GatheredEvent: DomainEvent, Codable, Hashable {
  case gathered(number: Int)
  enum CodingKeys: String, CodingKey { case gathered = "NumberGathered" }
}

struct Gathered: Aggregate {
  static let category = "gathering"
  var numbers: [Int] = []
  mutating func apply(_ event: GatheredEvent) { if case .gathered(let number) = event { numbers.append(number) } }
}

/// Reactors on the test's own database.
struct Reactors: Sendable {
  private static let limits = PostgresPool.Limits(size: 24, acquireTimeout: .seconds(60))

  var pool = FreshDatabase.current.pool(Reactors.limits)
  var store: PostgresEventStore { PostgresEventStore(pool) }

  /// With the rights of a reactor, and no others.
  static var restricted: Reactors {
    Reactors(
      pool: PostgresPool(FreshDatabase.current.configuration, limits: limits, logger: .quiet) {
        try await $0.execute("set role counterflow_reactor")
      })
  }

  /// What one reactor process runs.
  func services(
    _ reactions: any Reacting..., feed: (any EventFeed)? = nil, headInterval: Duration = .milliseconds(200),
    parkLimit: Int = 20, deadlines: Bool = false, rate: Int = 500, logger: Logger = .quiet
  ) -> [any Service] {
    let feed = feed ?? PostgresFeed(pool, pollInterval: .milliseconds(100), logger: .quiet)
    let processor = CommandProcessor(store, logger: .quiet)
    var settings = Projector.Settings()
    settings.leaseDuration = .seconds(4)
    settings.headInterval = headInterval
    settings.haltRetry = .milliseconds(300)
    settings.parkLimit = parkLimit
    var services: [any Service] = [processor]
    for (isCorrelated, partitioning) in [(false, Partitioning.standard), (true, Partitioning.single)] {
      let own = reactions.map(\.definition).filter { $0.isCorrelated == isCorrelated }
      guard !own.isEmpty else { continue }
      settings.partitioning = partitioning
      let running = own.map { $0.running(processor, pool, logger: .quiet) }
      services += running.compactMap(\.caller)
      services.append(
        Projector(
          running.map(\.projection), readStore: pool, writeStore: pool, feed: feed, settings: settings,
          logger: logger))
    }
    if deadlines {
      var settings = Deadlines<PostgresEventStore>.Settings()
      settings.rate = rate
      services.append(Deadlines(reactions.flatMap(\.schedules), pool, processor, settings, logger: .quiet))
    }
    return services
  }

  /// Waits until a reaction has its checkpoints.
  func begun(_ reaction: String) async throws {
    try await eventually("\(reaction) has begun") {
      try await pool.query(
        "select count(*) from projections.checkpoints where projection = \("reaction/" + reaction) and owner is not null"
      ).value(Int.self) > 0
    }
  }

  func append(_ events: [(JobEvent, String)]) async throws {
    let new = try events.map { try $0.0.new(in: Job.stream($0.1), id: .v7(), metadata: Array("{}".utf8)) }
    _ = try await store.append(AppendBatch(expectedVersions: [:], events: new))
  }

  /// Verifies the only generation of a reaction.
  func verify(_ reaction: some Reacting) async throws -> Verification {
    let name = Projection.name(ofReaction: reaction.name)
    let generation = try #require(try await Generations(pool).all(of: [name]).first)
    return try await withProcessor(store) {
      try await Verification.verify(
        Reactor(reaction.definition, $0).projection, generation, on: try await FreshDatabase.current.connect(),
        store, partitions: nil)
    }
  }

  func log(_ id: String) async throws -> [LogEvent] {
    try await store.events(in: Log.stream(id), after: .none, limit: 10_000).map { try LogEvent($0) }
  }

  /// All events that reactions have appended.
  func count(_ type: String) async throws -> Int {
    try await pool.query("select count(*) from event_store.events where type = \(type)").value(Int.self)
  }
}
