public import EventSourcing
internal import FoundationEssentials
internal import Postgres

extension PostgresEventStore {
  public func snapshots(of streams: [StreamID: Int]) async throws(EventStoreError) -> [StreamID: Snapshot] {
    guard !streams.isEmpty else { return [:] }
    return try await translating {
      let rows = try await pool.query(
        """
        select s.stream, s.schema_version, s.version, s.position, s.event_id, s.state
        from unnest(\(array: streams.keys.map(\.rawValue)), \(array: streams.values.map { Int32($0) }))
          as u(stream, schema_version)
        join event_store.snapshots s on s.stream = u.stream and s.schema_version = u.schema_version
        -- Of archived events, the store keeps only snapshots that it compared with them.
        where s.position <= event_store.archived_position() or exists (
          select from event_store.events e
          where e.position = s.position and e.id = s.event_id and e.stream = s.stream and e.version = s.version)
        """
      ).decode((String, Int, Int64, Int64, UUID, PostgresBytes).self)
      let snapshots = rows.map { row in
        Snapshot(
          stream: StreamID(rawValue: row.0), schemaVersion: row.1, version: Version(row.2), position: Position(row.3),
          eventID: row.4, state: row.5.bytes)
      }
      return Dictionary(uniqueKeysWithValues: snapshots.map { ($0.stream, $0) })
    }
  }

  public func save(_ snapshot: Snapshot) async throws(EventStoreError) {
    try await translating {
      _ = try await pool.query(
        """
        insert into event_store.snapshots as s (stream, schema_version, version, position, event_id, state)
        select \(snapshot.stream.rawValue), \(Int32(snapshot.schemaVersion)), \(snapshot.version.rawValue),
          \(snapshot.position.rawValue), \(snapshot.eventID), \(PostgresText(utf8: snapshot.state))::json
        -- A snapshot of archived events can no longer be compared with them. Beside an archive, one of a lost event must not
        -- replace one of archived events.
        where \(snapshot.position.rawValue) > event_store.archived_position()
          and (event_store.archived_position() = 0 or exists (
            select from event_store.events e
            where e.position = \(snapshot.position.rawValue) and e.id = \(snapshot.eventID)))
        on conflict (stream, schema_version) do update
        set version = excluded.version, position = excluded.position, event_id = excluded.event_id,
          state = excluded.state, recorded_at = excluded.recorded_at
        -- Older ones stay out, unless the newer one is of a history that is gone.
        where s.version < excluded.version or s.position > event_store.archived_position() and not exists (
          select from event_store.events e where e.position = s.position and e.id = s.event_id)
        """)
    }
  }

  /// Removes idempotency keys that are older than `age`, in small steps. Keys of the last day always stay.
  /// - Parameter generated: whether to remove only keys that no client has chosen.
  /// - Returns: the number of removed keys.
  public func forgetKeys(olderThan age: Duration, generated: Bool = false) async throws(EventStoreError) -> Int {
    let function = generated ? "event_store.forget_generated_keys" : "event_store.forget_keys"
    var removed = 0
    while !Task.isCancelled {
      let step = try await translating {
        Int(
          try await pool.query(
            """
            select \(unescaped: function)(
              clock_timestamp() - make_interval(secs => \(Double(age.components.seconds))), 1000)
            """
          ).value(Int64.self))
      }
      removed += step
      if step < 1000 { break }
    }
    return removed
  }
}
