internal import EventSourcing
internal import Failures
internal import FoundationEssentials
internal import Postgres

/// Another worker owns some of the assignments now, or a parked stream has continued already: this one must not write for
/// them any more.
struct FencedError: ClassifiedError, CustomStringConvertible {
  let projection: String
  var failureKind: FailureKind { .retry }
  var description: String {
    "another worker owns some of the assignments of \(projection) now, a parked stream has continued already, or the write store was restored"
  }
}

extension SQLState {
  /// Raised by `projections.advance` and `projections.expect_parked`.
  static let fenced = SQLState(rawValue: "CF001")
}

/// The assignments of one generation, as one worker sees them in the read store. A lane has the partitions whose
/// index modulo `lanes` is `lane`.
struct AssignmentStore: Sendable {
  let generation: Generation
  let worker: UUID
  let lane: Int
  let lanes: Int

  private var projection: String { generation.projection }
  private var number: Int32 { Int32(generation.number) }

  /// A move of one assignment's checkpoint, and the events applied on the way.
  struct Advance: Sendable {
    let partition: Partition
    let from: Checkpoint
    let to: Checkpoint
    let applied: Ledger.Addition
  }

  /// Returns this worker's equal share of the lane's assignments; nil while the read store does not count this
  /// worker.
  func share(on pool: PostgresPool) async throws -> Int? {
    let workers = try await pool.query(
      """
      select id from projections.workers
      where expires_at > clock_timestamp() and \(generation.service) = any(serves) order by id
      """
    ).decode(UUID.self)
    guard let rank = workers.firstIndex(of: worker) else { return nil }
    let assignments = (lane..<generation.partitioning.count).count { $0 % lanes == lane }
    // The remainder goes to other workers in each lane.
    return assignments / workers.count + ((rank + lane) % workers.count < assignments % workers.count ? 1 : 0)
  }

  /// Takes up to `count` assignments that have no owner, or whose owner's row has expired.
  func claim(_ count: Int, on pool: PostgresPool) async throws -> [PartitionAssignment] {
    let rows = try await pool.query(
      """
      update projections.checkpoints c set owner = \(worker), mode = 'catching up'
      from (
        select f.partition from projections.checkpoints f
        where f.projection = \(projection) and f.generation = \(number) and f.partition % \(Int32(lanes)) = \(Int32(lane))
          and f.owner is distinct from \(worker) and not exists (
            select from projections.workers w where w.id = f.owner and w.expires_at > clock_timestamp())
          -- Another version may have taken over.
          and exists (
            select from projections.generations g
            where g.projection = f.projection and g.generation = f.generation and g.version = \(Int32(generation.version)))
        order by f.partition limit \(count) for update skip locked) f
      where c.projection = \(projection) and c.generation = \(number) and c.partition = f.partition
      returning c.partition, c.history_id, c.position, c.event_id
      """)
    return try assignments(rows)
  }

  /// Returns this worker's assignments with their stored checkpoints.
  func owned(on pool: PostgresPool) async throws -> [PartitionAssignment] {
    let rows = try await pool.query(
      """
      select c.partition, c.history_id, c.position, c.event_id from projections.checkpoints c
      where c.projection = \(projection) and c.generation = \(number) and c.owner = \(worker)
        and c.partition % \(Int32(lanes)) = \(Int32(lane))
      """)
    return try assignments(rows)
  }

  private func assignments(_ rows: ResultSet) throws -> [PartitionAssignment] {
    try rows.decode((Int, UUID, Int64, UUID?).self).map { row in
      PartitionAssignment(
        partition: generation.partitioning.partitions[row.0], historyID: row.1,
        checkpoint: Checkpoint(position: Position(row.2), eventID: row.3), until: generation.until)
    }
  }

  func release(_ partitions: [Partition], on pool: PostgresPool) async throws {
    try await pool.query(
      """
      update projections.checkpoints set owner = null, mode = 'catching up'
      where projection = \(projection) and generation = \(number) and owner = \(worker)
        and partition = any(\(array: partitions.map { Int32($0.index) }))
      """)
  }

  /// A checkpoint's move, in the form that the read store takes.
  struct Move: Sendable {
    let generation: Generation.Identity
    let partition: Int32
    let from: Position
    let to: Checkpoint
    /// The events applied in the block of positions where the checkpoint then stands.
    let applied: Ledger.Entry
  }

  /// Returns a query that makes moves, for the transaction that writes their rows. It fails with `SQLState.fenced` if
  /// the worker does not own one of the assignments, or if a checkpoint is not where the worker left it.
  static func make(_ moves: [Move], by worker: UUID) -> Query {
    """
    select projections.advance(
      \(worker), \(array: moves.map(\.generation.projection)), \(array: moves.map { Int32($0.generation.number) }),
      \(array: moves.map(\.partition)), \(array: moves.map(\.from.rawValue)), \(array: moves.map(\.to.position.rawValue)),
      \(array: moves.map(\.to.eventID)), \(array: moves.map(\.applied.count)), \(array: moves.map(\.applied.ids)))
    """
  }

  /// Returns how checkpoints move, and queries that add the events of earlier blocks of positions to the ledger.
  func advance(_ advances: [Advance]) -> (moves: [Move], ledger: [Query]) {
    var moves: [Move] = []
    var entries: [Ledger.Key: Ledger.Entry] = [:]
    for advance in advances {
      let key = Ledger.Key(advance.partition, advance.to.position)
      var own = advance.applied.entries
      moves.append(
        Move(
          generation: generation.identity, partition: Int32(advance.partition.index), from: advance.from.position,
          to: advance.to, applied: own.removeValue(forKey: key) ?? .init()))
      entries.merge(own) { $1 }
    }
    guard !entries.isEmpty else { return (moves, []) }
    return (
      moves,
      [
        """
        insert into projections.ledger as l (projection, generation, partition, block, applied, ids)
        select \(projection), \(number), u.partition, u.block, u.applied, u.ids
        from unnest(
          \(array: entries.keys.map { Int32($0.partition) }), \(array: entries.keys.map(\.block)),
          \(array: entries.values.map(\.count)), \(array: entries.values.map(\.ids)))
          as u(partition, block, applied, ids)
        on conflict (projection, generation, partition, block)
        do update set applied = l.applied + excluded.applied, ids = l.ids # excluded.ids
        """
      ]
    )
  }

  /// Stores how assignments are doing, for people and for `projections.activate`.
  func report(_ assignments: [PartitionAssignment], on pool: PostgresPool) async throws {
    try await pool.query(
      """
      update projections.checkpoints c set mode = u.mode, halted_at = u.position, error = u.error
      from unnest(
        \(array: assignments.map { Int32($0.partition.index) }), \(array: assignments.map(\.mode.name)),
        \(array: assignments.map { $0.trouble?.position.rawValue }), \(array: assignments.map { $0.trouble?.reason }))
        as u(partition, mode, position, error)
      where c.projection = \(projection) and c.generation = \(number) and c.partition = u.partition and c.owner = \(worker)
      """)
  }
}

// MARK: Parked streams
extension AssignmentStore {
  /// For a transaction that moves no checkpoint: if a crash undid it, nothing would show that.
  static let durably: Query = "select set_config('synchronous_commit', 'on', true)"

  /// A stream that waits at an event that failed.
  struct Parked: Sendable {
    enum Request: String { case retry, discard }

    /// For a process manager the process's own stream.
    let stream: StreamID
    let partition: Int
    /// The event that it waits at.
    var version: Version
    var position: Position
    /// What is to be done now: an operator asks for it, or the time of the next retry has come.
    let request: Request?
    /// Whether it waits for an operator.
    let needsAPerson: Bool
  }

  func parked(_ partitions: [Partition], on pool: PostgresPool) async throws -> [Parked] {
    try await pool.query(
      """
      select stream, partition, version, position,
        coalesce(request, case when retry_at <= clock_timestamp() then 'retry' end), request is null and retry_at is null
      from projections.parked
      where projection = \(projection) and generation = \(number)
        and partition = any(\(array: partitions.map { Int32($0.index) }))
      """
    ).decode((String, Int, Int64, Int64, String?, Bool).self).map {
      Parked(
        stream: StreamID(rawValue: $0.0), partition: $0.1, version: Version($0.2), position: Position($0.3),
        request: $0.4.flatMap { Parked.Request(rawValue: $0) }, needsAPerson: $0.5)
    }
  }

  /// Parks the stream at the event, or stores why it stays parked.
  func park(_ refusal: Refusal, _ stream: StreamID, _ partition: Partition) -> Query {
    let (event, isUnderWay) = (refusal.event, refusal.next == .underWay)
    let request: String? = isUnderWay ? Parked.Request.retry.rawValue : nil
    var delay: Double?
    if case .retry(let after) = refusal.next { delay = after / .seconds(1) }
    return """
      insert into projections.parked as p
        (projection, generation, stream, partition, version, position, event_id, event_type, error, attempts, request, retry_at)
      values (\(projection), \(number), \(stream.rawValue), \(Int32(partition.index)), \(event.version.rawValue),
        \(event.position.rawValue), \(event.id), \(event.type), \(refusal.error), \(Int32(isUnderWay ? 0 : 1)),
        \(optional: request), clock_timestamp() + make_interval(secs => \(optional: isUnderWay ? 0 : delay)))
      on conflict (projection, generation, stream) do update
      set version = excluded.version, position = excluded.position, event_id = excluded.event_id,
        event_type = excluded.event_type, error = excluded.error, attempts = p.attempts + excluded.attempts,
        request = excluded.request, retry_at = excluded.retry_at, tried_at = clock_timestamp()
      """
  }

  /// Fails with `SQLState.fenced` unless the stream waits at that event. The checkpoint does not move when a stream
  /// continues, so nothing else would tell that an attempt whose outcome is unknown has already done it.
  func expect(_ parked: Parked) -> Query {
    """
    select projections.expect_parked(
      \(projection), \(number), \(parked.stream.rawValue), \(parked.position.rawValue))
    """
  }

  /// Discards the event that the stream waits at. The stream continues after it.
  func discard(_ stream: StreamID) -> Query {
    """
    insert into projections.discarded (projection, generation, stream, partition, version, position, event_id, error)
    select p.projection, p.generation, p.stream, p.partition, p.version, p.position, p.event_id, p.error
    from projections.parked p
    where p.projection = \(projection) and p.generation = \(number) and p.stream = \(stream.rawValue)
    """
  }

  /// Moves a parked stream to this event, where it waits now. The position tells readers that the row has changed,
  /// since the checkpoint does not.
  func resume(_ stream: StreamID, at event: RecordedEvent) -> Query {
    """
    update projections.parked
    set version = \(event.version.rawValue), position = \(event.position.rawValue), event_id = \(event.id),
      event_type = \(event.type), request = 'retry', retry_at = clock_timestamp()
    where projection = \(projection) and generation = \(number) and stream = \(stream.rawValue)
    """
  }

  func unpark(_ stream: StreamID) -> Query {
    """
    delete from projections.parked
    where projection = \(projection) and generation = \(number) and stream = \(stream.rawValue)
    """
  }

  // MARK: Events that wait behind a parked process, from whatever streams
  func hold(_ events: [RecordedEvent], _ projection: Projection) -> Query {
    """
    insert into projections.waiting (projection, generation, stream, partition, position, event_id)
    select \(self.projection), \(number), u.stream, u.partition, u.position, u.event_id
    from unnest(
      \(array: events.map { projection.sequence($0).rawValue }),
      \(array: events.map { Int32(generation.partitioning.partition(of: $0.stream).index) }),
      \(array: events.map(\.position.rawValue)), \(array: events.map(\.id)))
      as u(stream, partition, position, event_id)
    """
  }

  /// Returns the positions of the first of them.
  func held(behind parked: Parked, limit: Int, on pool: PostgresPool) async throws -> [Position] {
    try await pool.query(
      """
      select position from projections.waiting
      where projection = \(projection) and generation = \(number) and stream = \(parked.stream.rawValue)
        and position > \(parked.position.rawValue)
      order by position limit \(limit)
      """
    ).decode(Int64.self).map { Position($0) }
  }

  /// - Parameter last: the last that waits no longer behind the parked event; nil for all.
  func release(_ stream: StreamID, upTo last: Position?) -> Query {
    """
    delete from projections.waiting
    where projection = \(projection) and generation = \(number) and stream = \(stream.rawValue)
      and (\(optional: last?.rawValue)::bigint is null or position <= \(optional: last?.rawValue))
    """
  }
}
