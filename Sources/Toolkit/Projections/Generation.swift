package import EventSourcing
package import Failures
package import FoundationEssentials
internal import Machine
package import Postgres

/// One generation of a projection's tables. A rebuild fills the next one beside the one that serves.
package struct Generation: Sendable, Hashable {
  /// What a generation is for, at this moment.
  package enum State: String, Sendable {
    /// It is being filled.
    case building
    /// Queries read it.
    case serving
    /// It served before, and is still updated, so that a rollback is quick.
    case kept
    /// It ends at a position of the past.
    case past
  }

  /// The name of the projection.
  package let projection: String
  /// From 1.
  package let number: Int
  /// The version of the projection's code that fills it.
  package let version: Int
  /// How its streams are divided among workers.
  package let partitioning: Partitioning
  /// What it is for, at this moment.
  package let state: State
  /// The position after which a reaction began: it leaves out the events up to there. `start` for a read model.
  package let from: Position
  /// The position where a generation of the past ends; otherwise nil.
  package let until: Position?
  /// Whether it serves automatically once it has caught up.
  package let activates: Bool

  package init(
    projection: String, number: Int, version: Int, partitioning: Partitioning, state: State, from: Position,
    until: Position?, activates: Bool
  ) {
    (self.projection, self.number, self.version, self.partitioning) = (projection, number, version, partitioning)
    (self.state, self.from, self.until, self.activates) = (state, from, until, activates)
  }

  /// Returns the name of this generation's table.
  /// - Parameter name: The name of the table in the read model.
  package func table(_ name: String) -> String { "\(name)_g\(number)" }

  /// The service that a projection's workers announce. Workers run the generations of the same version and
  /// partitioning.
  package var service: String { Self.service(projection, version, partitioning) }

  static func service(_ projection: String, _ version: Int, _ partitioning: Partitioning) -> String {
    "\(projection)@\(version)/\(partitioning.count)"
  }
}

/// The table of generations.
package struct Generations: Sendable {
  let pool: PostgresPool

  /// Uses the table of generations in a read store; for reactions, in the write store.
  package init(_ readStore: PostgresPool) { pool = readStore }

  /// Returns all generations of these projections, ordered by projection and number.
  package func all(of projections: [String]) async throws -> [Generation] {
    try await pool.query(
      """
      select projection, generation, version, partition_count, state, until_position, activates, from_position
      from projections.generations where projection = any(\(array: projections)) order by projection, generation
      """
    ).decode((String, Int, Int, Int, String, Int64?, Bool, Int64).self).map { row in
      guard let partitioning = Partitioning(count: row.3), let state = Generation.State(rawValue: row.4) else {
        throw ProjectionsError("generation \(row.1) of \(row.0) is not one that this build knows")
      }
      return Generation(
        projection: row.0, number: row.1, version: row.2, partitioning: partitioning, state: state,
        from: Position(row.7), until: row.5.map { Position($0) }, activates: row.6)
    }
  }

  /// Creates the next generation and its tables.
  /// - Parameters:
  ///   - projection: the projection.
  ///   - partitioning: how its streams are divided among workers.
  ///   - historyID: the history of the write store.
  ///   - state: its state at first.
  ///   - until: the position where a generation of the past ends; otherwise nil.
  ///   - activates: whether it serves automatically once it has caught up.
  ///   - start: the last events that it leaves out, one for each partition; nil to begin with the first event.
  /// - Returns: its number; nil if another generation is being built, or if the first one to serve exists already.
  package func add(
    _ projection: Projection, _ partitioning: Partitioning, historyID: UUID, state: Generation.State,
    until: Position? = nil, activates: Bool = true, start: [PartitionHead]? = nil
  ) async throws -> Int? {
    try await pool.query(
      """
      select projections.add_generation(\(projection.name), \(Int32(projection.version)), \(array: projection.categories.sorted()),
        \(Int32(partitioning.count)),
        \(array: projection.tables), \(historyID), \(state.rawValue), \(optional: until?.rawValue), \(activates),
        \(array: start?.map(\.position.rawValue) ?? []), \(array: start?.map(\.eventID) ?? []))
      """
    ).value(Int?.self)
  }

  /// Lets a generation serve, once it has come as far as the one that serves.
  /// - Parameters:
  ///   - generation: the generation.
  ///   - log: the events of the write store.
  ///   - byItself: whether nobody asked for it. Then no stream may be parked in it that is not parked in the one that
  ///     serves.
  /// - Returns: nil if it serves now; otherwise the reason why it does not.
  package func activate(
    _ generation: Generation, of log: any EventLog, byItself: Bool = false
  ) async throws -> String? {
    let (name, number) = (generation.projection, Int32(generation.number))
    // No lock is held while the write store is queried, so a slow answer does not stop the generation that serves.
    var heads = try await log.heads(of: generation.partitioning).map(\.position.rawValue)
    let reason = try await pool.query("select projections.look(\(name), \(number), \(byItself), \(array: heads))")
      .value(String?.self)
    guard reason == nil else { return reason }
    heads = try await log.heads(of: generation.partitioning).map(\.position.rawValue)
    do {
      return try await pool.query("select projections.activate(\(name), \(number), \(byItself), \(array: heads))")
        .value(String?.self)
    } catch let error as PostgresError where error.isOthersInTheWay {
      return "queries that are under way hold its tables"
    }
  }

  /// Deletes a generation and its tables.
  /// - Returns: false if it serves or does not exist.
  package func drop(_ projection: String, _ number: Int) async throws -> Bool {
    var attempts = 0
    while true {
      do {
        return try await pool.query("select projections.drop_generation(\(projection), \(Int32(number)))")
          .value(Bool.self)
      } catch let error as PostgresError where error.isOthersInTheWay && attempts < 10 {
        attempts += 1
        try await Machine.sleep(for: .milliseconds(200 * attempts))
      }
    }
  }

  /// Returns whether a living projector runs generations of this version and partitioning.
  package func hasWorkers(_ generation: Generation) async throws -> Bool {
    try await pool.query(
      """
      select exists (
        select from projections.workers
        where expires_at > clock_timestamp() and \(generation.service) = any(serves))
      """
    ).value(Bool.self)
  }
}

extension PostgresError {
  /// Whether other transactions hold locks for long, or wait for this one's locks. A later attempt may succeed.
  fileprivate var isOthersInTheWay: Bool { [.lockNotAvailable, .deadlockDetected].contains(sqlState) }
}

/// A problem that a person has to repair.
package struct ProjectionsError: ClassifiedError, CustomStringConvertible {
  package let description: String
  /// A programming error: a retry does not help.
  package var failureKind: FailureKind { .programmingError }
  /// Creates an error.
  /// - Parameter description: What is wrong, and how to repair it.
  package init(_ description: String) { self.description = description }
}
