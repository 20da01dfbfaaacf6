package import EventSourcing
package import Postgres
package import PostgresEventStore

/// The state of all projections at one moment.
package struct ProjectionStatus: Sendable {
  /// One partition of a generation.
  package struct Assignment: Sendable {
    /// The partition.
    package let partition: Partition
    /// The worker's name; nil while there is no owner.
    package let owner: String?
    /// `live`, `catching up`, `halted`, `forked` or `done`.
    package let mode: String
    /// The position up to which the partition is applied.
    package let checkpoint: Position
    /// The events that wait to be applied.
    package let backlog: Backlog
    /// Where and why it stopped; nil while it runs.
    package let trouble: (position: Position, reason: String)?
  }

  /// A generation and its partitions.
  package struct Entry: Sendable {
    /// The generation.
    package let generation: Generation
    /// Its assignments, by partition.
    package let assignments: [Assignment]
    /// The number of parked streams that wait for an operator, or that were to be tried again a minute ago.
    package let parkedStreams: Int
    /// The number of parked streams that are tried again without one.
    package let retryingStreams: Int
    /// The number of events that an operator has discarded.
    package let discardedEvents: Int

    /// The number of events that wait, over all assignments; each counts up to `Backlog.limit`.
    package var lag: Int64 { assignments.reduce(0) { $0 + $1.backlog.events } }
    /// When the oldest waiting event was recorded; nil if none waits.
    package var since: Timestamp? { assignments.compactMap(\.backlog.since).min() }
    /// The number of assignments without an owner.
    package var unowned: Int { assignments.count { $0.owner == nil } }
  }

  /// A running process that works on projections.
  package struct Worker: Sendable {
    /// The name of the process.
    package let name: String
    /// What it can run, each as `NAME@VERSION/PARTITIONS`.
    package let serves: [String]
    /// The number of assignments that it owns.
    package let assignments: Int
  }

  /// The position of the write store's last event.
  package let head: Position
  /// Where the write store's events are.
  package let durability: Durability
  /// Whether the write store's server archives its WAL.
  package let archiving: Archiving
  /// Every generation, by projection and number.
  package let entries: [Entry]
  /// The running workers: those whose lease has not expired.
  package let workers: [Worker]
}

extension ProjectionStatus {
  /// Reads the status of all read models from the read store, and of all reactions from the write store.
  /// - Parameters:
  ///   - readStore: the read store.
  ///   - writeStore: the write store, for the checkpoints of reactions.
  ///   - store: the write store, in which lags are counted.
  package static func read(
    _ readStore: PostgresPool, _ writeStore: PostgresPool, _ store: PostgresEventStore
  ) async throws -> ProjectionStatus {
    let (durability, archiving) = (try await Durability(of: writeStore), try await Archiving(of: writeStore))
    let models = try await read(readStore, store) { !Projection.isReaction($0) }
    let reactions = try await read(writeStore, store, of: Projection.isReaction)
    return ProjectionStatus(
      head: try await store.head(), durability: durability, archiving: archiving,
      entries: models.entries + reactions.entries, workers: models.workers + reactions.workers)
  }

  /// - Parameter isWanted: whether the projection of that name is asked for. Both kinds may be in one database.
  private static func read(
    _ readStore: PostgresPool, _ store: PostgresEventStore, of isWanted: (String) -> Bool
  ) async throws -> (entries: [Entry], workers: [Worker]) {
    let names = try await readStore.query("select distinct projection from projections.generations").decode(String.self)
      .filter(isWanted)
    let rows = try await readStore.query(
      """
      select c.projection, c.generation, c.partition, w.name, c.mode, c.position, c.halted_at, c.error
      from projections.checkpoints c
      left join projections.workers w on w.id = c.owner and w.expires_at > clock_timestamp()
      order by c.partition
      """
    ).decode((String, Int, Int, String?, String, Int64, Int64?, String?).self)
    let waiting = try await readStore.query(
      """
      select g.projection, g.generation,
        (select count(*) from projections.parked p where p.projection = g.projection and p.generation = g.generation
          and (p.retry_at is null or p.retry_at < clock_timestamp() - interval '1 minute')),
        (select count(*) from projections.parked p where p.projection = g.projection and p.generation = g.generation
          and p.retry_at >= clock_timestamp() - interval '1 minute'),
        (select count(*) from projections.discarded d where d.projection = g.projection and d.generation = g.generation)
      from projections.generations g
      """
    ).decode((String, Int, Int, Int, Int).self)
    let workers = try await readStore.query(
      """
      select w.name, array_to_string(w.serves, ' '),
        (select count(*) from projections.checkpoints c where c.owner = w.id)
      from projections.workers w where w.expires_at > clock_timestamp() order by w.name
      """
    ).decode((String, String, Int).self)
    var entries: [Entry] = []
    for generation in try await Generations(readStore).all(of: names) {
      let own = rows.filter { $0.0 == generation.projection && $0.1 == generation.number }
      let partitions = generation.partitioning.partitions
      // A generation of the past has an end, so its backlog is not counted.
      let backlogs =
        generation.until == nil
        ? try await store.backlogs(own.map { (partition: partitions[$0.2], after: Position($0.5)) })
        : own.map { _ in Backlog(events: 0, since: nil) }
      let assignments = zip(own, backlogs).map { row, backlog in
        Assignment(
          partition: partitions[row.2], owner: row.3, mode: row.4, checkpoint: Position(row.5), backlog: backlog,
          trouble: row.6.map { (Position($0), row.7 ?? "") })
      }
      let counts = waiting.first { $0.0 == generation.projection && $0.1 == generation.number }
      entries.append(
        Entry(
          generation: generation, assignments: assignments, parkedStreams: counts?.2 ?? 0,
          retryingStreams: counts?.3 ?? 0, discardedEvents: counts?.4 ?? 0))
    }
    return (
      entries,
      workers.map {
        Worker(name: $0.0, serves: $0.1.split(separator: " ").map(String.init), assignments: $0.2)
      }.filter { $0.serves.allSatisfy(isWanted) }
    )
  }
}
