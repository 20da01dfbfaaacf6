internal import EventSourcing
internal import FoundationEssentials
internal import Projections

/// The tables of projections of one process, over a link.
struct SimulatedProjectionStore: ProjectionStore {
  private let link: Link
  private let database: Database
  /// Whether it is the write store, with the checkpoints of reactions.
  private let hasEvents: Bool

  init(_ link: Link, _ database: Database, hasEvents: Bool) {
    (self.link, self.database, self.hasEvents) = (link, database, hasEvents)
  }

  private func ask<Answer: Sendable>(
    isWrite: Bool = false, _ request: @escaping @Sendable (inout ProjectionTables, Timestamp) throws -> Answer
  ) async throws -> Answer {
    try await link.ask(isWrite: isWrite) { [database] in
      return try request(&database.contents.projections, database.now)
    }
  }

  func renew(
    _ worker: UUID, name: String, running services: [String], for lease: Duration
  ) async throws {
    try await ask(isWrite: true) { $0.renew(worker, services, until: $1.advanced(by: lease)) }
  }

  func leave(_ worker: UUID) async throws { try await ask(isWrite: true) { tables, _ in tables.leave(worker) } }
  func workers(of service: String) async throws -> [UUID] { try await ask { $0.workers(of: service, at: $1) } }
  func unowned() async throws -> [String: Int] { try await ask { $0.unowned(at: $1) } }

  func generations(of projections: [String]) async throws -> [Generation] {
    try await ask { tables, _ in tables.all(of: projections) }
  }

  func add(
    _ projection: Projection, _ partitioning: Partitioning, historyID: UUID, state: Generation.State,
    start: [PartitionHead]?
  ) async throws -> Int? {
    try await ask(isWrite: true) { tables, _ in
      tables.add(projection, partitioning, historyID: historyID, state: state, start: start)
    }
  }

  func activate(_ generation: Generation, of log: any EventLog) async throws -> String? {
    var heads = try await log.heads(of: generation.partitioning).map(\.position)
    let reason = try await ask { [heads] in $0.look(generation, heads, at: $1) }
    guard reason == nil else { return reason }
    heads = try await log.heads(of: generation.partitioning).map(\.position)
    return try await ask(isWrite: true) { [heads] in $0.activate(generation, heads, at: $1) }
  }

  func hasWorkers(_ generation: Generation) async throws -> Bool {
    try await ask { $0.hasWorkers(generation.service, at: $1) }
  }

  func isParkedForGood(_ generation: Generation, by projection: Projection) async throws -> Bool {
    try await ask { tables, _ in tables.isParkedForGood(generation, by: projection) }
  }

  func takeOver(_ generation: Generation, by projection: Projection) async throws {
    try await ask(isWrite: true) { tables, _ in tables.takeOver(generation, by: projection) }
  }

  func claim(_ count: Int, _ lane: Lane) async throws -> [StoredAssignment] {
    try await ask(isWrite: true) { $0.claim(count, lane, at: $1) }
  }

  func owned(_ lane: Lane) async throws -> [StoredAssignment] {
    try await ask { tables, _ in tables.owned(lane) }
  }

  func release(_ partitions: [Partition], _ lane: Lane) async throws {
    try await ask(isWrite: true) { tables, _ in tables.release(partitions, lane) }
  }

  func report(_ reports: [AssignmentReport], _ lane: Lane) async throws {
    try await ask(isWrite: true) { tables, _ in tables.report(reports, lane) }
  }

  func parked(_ partitions: [Partition], of generation: Generation) async throws -> [ParkedPlace] {
    try await ask { $0.parked(partitions, of: generation, at: $1) }
  }

  func held(
    behind parked: ParkedPlace, of generation: Generation, limit: Int
  ) async throws -> [Position] {
    try await ask { tables, _ in tables.held(behind: parked, of: generation, limit: limit) }
  }

  func write(_ parts: [RoundPart], by worker: UUID) async throws {
    let isDurable = parts.contains { $0.changes.contains { if case .durably = $0 { true } else { false } } }
    try await link.ask(isWrite: true) { [database, hasEvents] in
      try database.contents.projections.write(
        parts, by: worker, hasEvents ? database.contents.events : nil, at: database.now)
      if isDurable { database.sync() }
    }
  }

  /// Reads how far the generations have come that serve.
  func progress(in historyID: UUID?) async throws -> ProgressReading {
    try await ask { tables, _ in
      let serving = tables.generations.filter { $0.value.state == .serving }
        .sorted { $0.key.projection < $1.key.projection }
      return ProgressReading(
        serving: serving.map { key, stored in
          let checkpoints = tables.checkpoints[key] ?? []
          let histories = Set(checkpoints.map(\.historyID))
          return .init(
            projection: key.projection, generation: key.number, partitioning: stored.partitioning,
            historyID: historyID == nil && histories.count == 1 ? histories.first : nil,
            positions: checkpoints.map { historyID == nil || $0.historyID == historyID ? $0.position.rawValue : -1 })
        },
        parked: serving.flatMap { key, _ in
          (tables.parked[key] ?? [:]).map {
            .init(projection: key.projection, stream: $0.key, position: $0.value.position)
          }
        })
    }
  }

  /// Reads a row of the generation that serves.
  /// - Parameter table: its name, with the schema.
  func row(_ projection: String, _ table: String, _ key: String) async throws -> MemoryTables.Row? {
    try await ask { tables, _ in
      tables.serving(projection).flatMap { tables.rows.rows["\(table)_g\($0.number)"]?[ExactText(key)] }
    }
  }
}
