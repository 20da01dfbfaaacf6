package import EventSourcing
package import FoundationEssentials
package import Postgres

/// Raised by `projections.advance` and `projections.expect_parked`.
extension SQLState {
  static let fenced = SQLState(rawValue: "CF001")
}

/// The tables of projections in PostgreSQL.
package struct PostgresProjectionStore: ProjectionStore {
  let pool: PostgresPool

  /// - Parameter pool: a pool on the read store; for reactions, on the write store.
  package init(_ pool: PostgresPool) { self.pool = pool }

  private var table: Generations { Generations(pool) }

  package func generations(of projections: [String]) async throws -> [Generation] {
    try await table.all(of: projections)
  }

  package func add(
    _ projection: Projection, _ partitioning: Partitioning, historyID: UUID, state: Generation.State,
    start: [PartitionHead]?
  ) async throws -> Int? {
    try await table.add(projection, partitioning, historyID: historyID, state: state, start: start)
  }

  package func activate(_ generation: Generation, of log: any EventLog) async throws -> String? {
    try await table.activate(generation, of: log, byItself: true)
  }

  package func hasWorkers(_ generation: Generation) async throws -> Bool { try await table.hasWorkers(generation) }

  package func write(_ parts: [RoundPart], by worker: UUID) async throws {
    do {
      try await pool.withConnection { connection in
        try await connection.transaction(reading: parts.compactMap { $0.rows?.load }) { answers in
          var answers = answers[...]
          let statements = try parts.flatMap { part in
            try part.rows?.statements(part.rows?.load == nil ? nil : answers.removeFirst()) ?? []
          }
          let others = parts.flatMap { part in part.changes.flatMap { query($0, part.generation) } + ledger(part) }
          let moves = parts.flatMap { part in part.moves.map { (part.generation, $0) } }
          return statements + (others + (moves.isEmpty ? [] : [advance(moves, by: worker)])).map(Statement.query)
        }
      }
    } catch let error as PostgresError where error.code == .server(.fenced) { throw FencedError() }
  }
}

// MARK: Workers
extension PostgresProjectionStore {
  package func renew(
    _ worker: UUID, name: String, running services: [String], for lease: Duration
  ) async throws {
    try await pool.query(
      """
      insert into projections.workers as w (id, name, serves, expires_at)
      values (\(worker), \(name), \(array: services), clock_timestamp() + make_interval(secs => \(lease / .seconds(1))))
      on conflict (id) do update set expires_at = excluded.expires_at, serves = excluded.serves
      """, timeout: lease / 3)
    try await pool.query("delete from projections.workers where expires_at < clock_timestamp() - interval '1 hour'")
  }

  package func leave(_ worker: UUID) async throws {
    try await pool.query("delete from projections.workers where id = \(worker)")
  }

  package func workers(of service: String) async throws -> [UUID] {
    try await pool.query(
      """
      select id from projections.workers
      where expires_at > clock_timestamp() and \(service) = any(serves) order by id
      """
    ).decode(UUID.self)
  }

  package func unowned() async throws -> [String: Int] {
    let rows = try await pool.query(
      """
      select c.projection, count(*) from projections.checkpoints c
      join projections.generations g on g.projection = c.projection and g.generation = c.generation
      where g.state in ('serving', 'building') and not exists (
        select from projections.workers w where w.id = c.owner and w.expires_at > clock_timestamp())
      group by c.projection
      """
    ).decode((String, Int).self)
    return Dictionary(uniqueKeysWithValues: rows.map { ($0.0, $0.1) })
  }
}

// MARK: Assignments
extension PostgresProjectionStore {
  package func claim(_ count: Int, _ lane: Lane) async throws -> [StoredAssignment] {
    let (generation, number) = (lane.generation, Int32(lane.generation.number))
    let rows = try await pool.query(
      """
      -- Materialized: as a subquery it may run once for each row of the join, and then takes others each time.
      with free as materialized (
        select f.partition from projections.checkpoints f
        where f.projection = \(generation.projection) and f.generation = \(number)
          and f.partition % \(Int32(lane.count)) = \(Int32(lane.number))
          and f.owner is distinct from \(lane.worker) and not exists (
            select from projections.workers w where w.id = f.owner and w.expires_at > clock_timestamp())
          -- Another version may have taken over.
          and exists (
            select from projections.generations g
            where g.projection = f.projection and g.generation = f.generation and g.version = \(Int32(generation.version)))
        order by f.partition limit \(count) for update skip locked)
      update projections.checkpoints c set owner = \(lane.worker), mode = 'catching up' from free
      where c.projection = \(generation.projection) and c.generation = \(number) and c.partition = free.partition
      returning c.partition, c.history_id, c.position, c.event_id
      """)
    return try assignments(rows, of: generation)
  }

  package func owned(_ lane: Lane) async throws -> [StoredAssignment] {
    let rows = try await pool.query(
      """
      select c.partition, c.history_id, c.position, c.event_id from projections.checkpoints c
      where c.projection = \(lane.generation.projection) and c.generation = \(Int32(lane.generation.number))
        and c.owner = \(lane.worker) and c.partition % \(Int32(lane.count)) = \(Int32(lane.number))
      """)
    return try assignments(rows, of: lane.generation)
  }

  private func assignments(_ rows: ResultSet, of generation: Generation) throws -> [StoredAssignment] {
    try rows.decode((Int, UUID, Int64, UUID?).self).map { row in
      StoredAssignment(
        partition: generation.partitioning.partitions[row.0], historyID: row.1,
        checkpoint: Checkpoint(position: Position(row.2), eventID: row.3))
    }
  }

  package func release(_ partitions: [Partition], _ lane: Lane) async throws {
    try await pool.query(
      """
      update projections.checkpoints set owner = null, mode = 'catching up'
      where projection = \(lane.generation.projection) and generation = \(Int32(lane.generation.number))
        and owner = \(lane.worker) and partition = any(\(array: partitions.map { Int32($0.index) }))
      """)
  }

  package func report(_ reports: [AssignmentReport], _ lane: Lane) async throws {
    try await pool.query(
      """
      update projections.checkpoints c set mode = u.mode, halted_at = u.position, error = u.error
      from unnest(
        \(array: reports.map { Int32($0.partition.index) }), \(array: reports.map(\.mode)),
        \(array: reports.map { $0.position?.rawValue }), \(array: reports.map(\.reason)))
        as u(partition, mode, position, error)
      where c.projection = \(lane.generation.projection) and c.generation = \(Int32(lane.generation.number))
        and c.partition = u.partition and c.owner = \(lane.worker)
      """)
  }

  /// Makes moves. It fails with `SQLState.fenced` if the worker does not own one of the assignments, or if a checkpoint is not
  /// where the worker left it.
  private func advance(_ moves: [(Generation, RoundPart.Move)], by worker: UUID) -> Query {
    """
    select projections.advance(
      \(worker), \(array: moves.map(\.0.projection)), \(array: moves.map { Int32($0.0.number) }),
      \(array: moves.map { Int32($0.1.partition) }), \(array: moves.map(\.1.from.rawValue)),
      \(array: moves.map(\.1.to.position.rawValue)), \(array: moves.map(\.1.to.eventID)),
      \(array: moves.map(\.1.applied.count)), \(array: moves.map(\.1.applied.ids)))
    """
  }

  private func ledger(_ part: RoundPart) -> [Query] {
    guard !part.ledger.isEmpty else { return [] }
    let entries = part.ledger
    return [
      """
      insert into projections.ledger as l (projection, generation, partition, block, applied, ids)
      select \(part.generation.projection), \(Int32(part.generation.number)), u.partition, u.block, u.applied, u.ids
      from unnest(
        \(array: entries.keys.map { Int32($0.partition) }), \(array: entries.keys.map(\.block)),
        \(array: entries.values.map(\.count)), \(array: entries.values.map(\.ids)))
        as u(partition, block, applied, ids)
      on conflict (projection, generation, partition, block)
      do update set applied = l.applied + excluded.applied, ids = l.ids # excluded.ids
      """
    ]
  }
}

extension Projector {
  /// Returns a function that prepares connections to the read store.
  ///
  /// Transactions do not wait for the disk. If a crash of the server undoes one, it also undoes the checkpoint, and
  /// the events are projected again. A transaction whose process sleeps or has vanished releases its locks after the
  /// lease duration, so that other workers can take over.
  package static func prepare(
    leaseDuration: Duration
  ) -> @Sendable (PostgresConnection) async throws -> Void {
    let milliseconds = max(100, Int(leaseDuration / .milliseconds(1)))
    return { connection in
      try await connection.execute(
        """
        set synchronous_commit = off;
        set idle_in_transaction_session_timeout = \(milliseconds);
        set statement_timeout = \(max(10_000, milliseconds * 2))
        """)
    }
  }
}
