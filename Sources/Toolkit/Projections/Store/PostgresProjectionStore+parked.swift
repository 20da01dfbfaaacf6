package import EventSourcing
internal import FoundationEssentials
internal import Postgres

// What waits in parked streams.
extension PostgresProjectionStore {
  package func isParkedForGood(_ generation: Generation, by projection: Projection) async throws -> Bool {
    // Of a process manager, what waits may be of any category.
    try await pool.query(
      """
      select exists (
        select from projections.parked p
        join projections.generations g on g.projection = p.projection and g.generation = p.generation
        where p.projection = \(generation.projection) and p.generation = \(Int32(generation.number))
          and not g.categories <@ \(array: projection.categories.sorted())
          and (\(projection.isCorrelated) or split_part(p.stream, '-', 1) <> all(\(array: projection.categories.sorted()))))
      """
    ).value(Bool.self)
  }

  package func takeOver(_ generation: Generation, by projection: Projection) async throws {
    let (name, number) = (generation.projection, Int32(generation.number))
    let categories = projection.categories.sorted()
    // Workers of the version before can move the checkpoints no further.
    try await pool.query(
      """
      with before as (
        select g.categories from projections.generations g
        where g.projection = \(name) and g.generation = \(number) and g.version = \(Int32(generation.version)) for update
      ), released as (
        update projections.checkpoints c set owner = null, mode = 'catching up' from before
        where c.projection = \(name) and c.generation = \(number)
        returning c.partition, c.position
      ), noted as (
        insert into projections.takeovers (projection, generation, partition, position, categories, ordinal)
        select \(name), \(number), r.partition, r.position, b.categories,
          (select coalesce(max(t.ordinal), 0) + 1 from projections.takeovers t
           where t.projection = \(name) and t.generation = \(number))
        from released r cross join before b where b.categories <> \(array: categories)
      )
      update projections.generations g set version = \(Int32(projection.version)), categories = \(array: categories)
      from before where g.projection = \(name) and g.generation = \(number)
      """)
  }

  package func parked(_ partitions: [Partition], of generation: Generation) async throws -> [ParkedPlace] {
    try await pool.query(
      """
      select stream, partition, version, position,
        coalesce(request, case when retry_at <= clock_timestamp() then 'retry' end), request is null and retry_at is null
      from projections.parked
      where projection = \(generation.projection) and generation = \(Int32(generation.number))
        and partition = any(\(array: partitions.map { Int32($0.index) }))
      """
    ).decode((String, Int, Int64, Int64, String?, Bool).self).map {
      ParkedPlace(
        stream: StreamID(rawValue: $0.0), partition: $0.1, version: Version($0.2), position: Position($0.3),
        request: $0.4.flatMap { ParkedPlace.Request(rawValue: $0) }, needsAPerson: $0.5)
    }
  }

  package func held(
    behind parked: ParkedPlace, of generation: Generation, limit: Int
  ) async throws -> [Position] {
    try await pool.query(
      """
      select position from projections.waiting
      where projection = \(generation.projection) and generation = \(Int32(generation.number))
        and stream = \(parked.stream.rawValue) and position > \(parked.position.rawValue)
      order by position limit \(limit)
      """
    ).decode(Int64.self).map { Position($0) }
  }

  func query(_ change: ParkingChange, _ generation: Generation) -> [Query] {
    let (projection, number) = (generation.projection, Int32(generation.number))
    switch change {
    case .durably: return ["select set_config('synchronous_commit', 'on', true)"]
    case .expect(let parked):
      return [
        """
        select projections.expect_parked(
          \(projection), \(number), \(parked.stream.rawValue), \(parked.position.rawValue))
        """
      ]
    case .park(let refusal, let stream, let partition): return [park(refusal, stream, partition, projection, number)]
    case .discard(let stream):
      return [
        """
        insert into projections.discarded (projection, generation, stream, partition, version, position, event_id, error)
        select p.projection, p.generation, p.stream, p.partition, p.version, p.position, p.event_id, p.error
        from projections.parked p
        where p.projection = \(projection) and p.generation = \(number) and p.stream = \(stream.rawValue)
        """
      ]
    case .resume(let stream, let event):
      return [
        """
        update projections.parked
        set version = \(event.version.rawValue), position = \(event.position.rawValue), event_id = \(event.id),
          event_type = \(event.type), request = 'retry', retry_at = clock_timestamp()
        where projection = \(projection) and generation = \(number) and stream = \(stream.rawValue)
        """
      ]
    case .unpark(let stream):
      return [
        """
        delete from projections.parked
        where projection = \(projection) and generation = \(number) and stream = \(stream.rawValue)
        """
      ]
    case .hold(let waiting):
      return [
        """
        insert into projections.waiting (projection, generation, stream, partition, position, event_id)
        select \(projection), \(number), u.stream, u.partition, u.position, u.event_id
        from unnest(
          \(array: waiting.map(\.process.rawValue)),
          \(array: waiting.map { Int32(generation.partitioning.partition(of: $0.event.stream).index) }),
          \(array: waiting.map(\.event.position.rawValue)), \(array: waiting.map(\.event.id)))
          as u(stream, partition, position, event_id)
        """
      ]
    case .release(let stream, let last):
      return [
        """
        delete from projections.waiting
        where projection = \(projection) and generation = \(number) and stream = \(stream.rawValue)
          and (\(optional: last?.rawValue)::bigint is null or position <= \(optional: last?.rawValue))
        """
      ]
    }
  }

  private func park(
    _ refusal: Refusal, _ stream: StreamID, _ partition: Partition, _ projection: String, _ number: Int32
  ) -> Query {
    let (event, isUnderWay) = (refusal.event, refusal.next == .underWay)
    let request: String? = isUnderWay ? ParkedPlace.Request.retry.rawValue : nil
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
}
