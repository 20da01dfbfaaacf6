package import EventSourcing
internal import Postgres

/// How large the write store is, and how fast its events grow.
package struct StoreSizes: Sendable, Hashable {
  /// The whole database, in bytes.
  package let database: Int64
  /// The events with their indexes, without those in the archive, in bytes.
  package let events: Int64
  /// The stored responses with their indexes, in bytes.
  package let keys: Int64
  /// The snapshots with their indexes, in bytes.
  package let snapshots: Int64
  /// The last position that is archived; `start` if none is.
  package let archived: Position
  /// The number of events that were recorded within the last 24 hours.
  package let eventsPerDay: Int64
  /// The bytes that events took within the last 24 hours, at the average size of all events in the store.
  package let bytesPerDay: Int64
}

extension PostgresEventStore {
  /// Returns the sizes. It reads sizes of files, and searches one position: it scans no table.
  /// - Parameter time: the end of the 24 hours.
  package func sizes(at time: Timestamp = .now) async throws(EventStoreError) -> StoreSizes {
    let yesterday = try await position(at: time.advanced(by: .seconds(-86_400)))
    return try await translating {
      let (database, events, keys, snapshots, head, archived) = try await pool.query(
        """
        select pg_database_size(current_database()),
          (select sum(pg_total_relation_size(t.relid))::bigint from pg_partition_tree('event_store.events') t
            where t.isleaf),
          pg_total_relation_size('event_store.idempotency_keys'), pg_total_relation_size('event_store.snapshots'),
          (select coalesce(max(e.position), 0) from event_store.events e), event_store.archived_position()
        """
      ).decode((Int64, Int64, Int64, Int64, Int64, Int64).self)[0]
      let recent = max(head - yesterday.rawValue, 0)
      let each = head > archived ? Double(events) / Double(head - archived) : 0
      return StoreSizes(
        database: database, events: events, keys: keys, snapshots: snapshots, archived: Position(archived),
        eventsPerDay: recent, bytesPerDay: Int64(each * Double(recent)))
    }
  }
}
