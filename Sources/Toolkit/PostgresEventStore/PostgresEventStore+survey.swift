package import EventSourcing
internal import FoundationEssentials
internal import Postgres

/// The events that a reader has not processed yet.
package struct Backlog: Sendable, Hashable {
  /// The number of events, counted up to `Backlog.limit`.
  package let events: Int64
  /// When the first of them was recorded; nil if there is none.
  package let since: Timestamp?

  /// The most events that are counted.
  package static let limit: Int64 = 100_000

  package init(events: Int64, since: Timestamp?) {
    self.events = events
    self.since = since
  }
}

/// A digest of the events of one partition in one block of positions. Equal digests show that two readers have the same
/// events.
package struct EventsDigest: Sendable, Hashable {
  package let partition: Int
  /// Positions divided by 65,536.
  package let block: Int64
  /// The number of events.
  package let count: Int64
  /// The lower halves of the events' ids, combined with xor.
  package let ids: Int64
}

// Queries about the store as a whole, for operators and checks.
extension PostgresEventStore {
  /// Returns the backlog after a position in each of these partitions.
  package func backlogs(_ places: [(partition: Partition, after: Position)]) async throws(EventStoreError) -> [Backlog]
  {
    guard !places.isEmpty else { return [] }
    return try await translating {
      let rows = try await pool.query(
        """
        select count(e.position), min(e.recorded_at)
        from unnest(
          \(array: places.map { Int32($0.partition.buckets.lowerBound) }),
          \(array: places.map { Int32($0.partition.buckets.upperBound - 1) }),
          \(array: places.map(\.after.rawValue))) with ordinality as u(first, last, position, place)
        left join lateral (
          select b.position, b.recorded_at
          from generate_series(u.first, u.last) as bucket(index)
          cross join lateral (
            select position, recorded_at from event_store.events
            where (hash >> 10) = bucket.index and position > u.position order by position limit \(Backlog.limit)) b
          limit \(Backlog.limit)) e on true
        group by u.place order by u.place
        """
      ).decode((Int64, PostgresTimestamp?).self)
      return rows.map { row in
        Backlog(events: row.0, since: row.1.map { Timestamp($0) })
      }
    }
  }

  /// Returns how long the first event after a position in each of these partitions has waited; nil where there is none.
  package func waiting(
    _ places: [(partition: Partition, after: Position)]
  ) async throws(EventStoreError) -> [Duration?] {
    guard !places.isEmpty else { return [] }
    return try await translating {
      try await pool.query(
        """
        select extract(epoch from clock_timestamp() - min(e.recorded_at))::float8
        from unnest(
          \(array: places.map { Int32($0.partition.buckets.lowerBound) }),
          \(array: places.map { Int32($0.partition.buckets.upperBound - 1) }),
          \(array: places.map(\.after.rawValue))) with ordinality as u(first, last, position, place)
        left join lateral (
          select b.recorded_at
          from generate_series(u.first, u.last) as bucket(index)
          cross join lateral (
            select recorded_at from event_store.events
            where (hash >> 10) = bucket.index and position > u.position order by position limit 1) b) e on true
        group by u.place order by u.place
        """
      ).decode(Double?.self).map { $0.map { .seconds(max(0, $0)) } }
    }
  }

  /// Reads events after a position, which must all be in the store, before and after.
  /// - Parameter position: nil if nothing is read.
  private func stored<Result: Sendable>(
    after position: Position?, _ read: () async throws -> Result
  ) async throws(EventStoreError) -> Result {
    guard let position else { return try await translating(read) }
    try await refuseArchived(after: position)
    let archived = try await archivedPosition()
    let result = try await translating(read)
    try await refuseArchived(after: position)
    guard try await archivedPosition() == archived else {
      throw .unavailable("events were archived or attached while they were read")
    }
    return result
  }

  /// Returns digests of the events of some categories, in a range of positions of each partition. Reads the whole store.
  package func digests(
    of categories: Set<String>, in places: [(partition: Partition, after: Position, upTo: Position)]
  ) async throws(EventStoreError) -> [EventsDigest] {
    let first = places.filter { $0.after < $0.upTo }.map(\.after).min()
    return try await stored(after: first) {
      try await pool.query(
        """
        select u.partition, e.position >> 16, count(*),
          bit_xor(('x' || encode(substr(uuid_send(e.id), 9), 'hex'))::bit(64)::bigint)
        from event_store.events e
        join unnest(
          \(array: places.map { Int32($0.partition.index) }),
          \(array: places.map { Int32($0.partition.buckets.lowerBound) }),
          \(array: places.map { Int32($0.partition.buckets.upperBound - 1) }),
          \(array: places.map(\.after.rawValue)), \(array: places.map(\.upTo.rawValue)))
          as u(partition, first, last, begins, ends)
          on (e.hash >> 10) between u.first and u.last and e.position > u.begins and e.position <= u.ends
        where split_part(e.stream, '-', 1) = any(\(array: Array(categories)))
        group by 1, 2
        """, timeout: .seconds(3600)
      ).decode((Int, Int64, Int64, Int64).self).map {
        EventsDigest(partition: $0.0, block: $0.1, count: $0.2, ids: $0.3)
      }
    }
  }

  /// Returns the streams of one of the 64 ranges of hashes whose first events are after a position, in the order of
  /// these events.
  package func streams(
    inBucket bucket: Int, beginningAfter position: Position, upTo end: Position, categories: Set<String>, limit: Int
  ) async throws(EventStoreError) -> [(stream: StreamID, position: Position)] {
    try await stored(after: position < end ? position : nil) {
      // Sorts by the whole index, so that no plan can walk along all positions.
      try await pool.query(
        """
        select stream, position from event_store.events
        where ((hash >> 10), position) > (\(Int32(bucket)), \(position.rawValue)) and (hash >> 10) <= \(Int32(bucket))
          and position <= \(end.rawValue) and version = 1
          and split_part(stream, '-', 1) = any(\(array: Array(categories)))
        order by (hash >> 10), position limit \(limit)
        """, timeout: .seconds(600)
      ).decode((String, Int64).self).map { (StreamID(rawValue: $0.0), Position($0.1)) }
    }
  }

  /// Returns the last position that was recorded at or before a time; the last archived one if that time is before the
  /// events in the store.
  package func position(at time: Timestamp) async throws(EventStoreError) -> Position {
    var (low, high) = (try await archivedPosition().rawValue, try await head().rawValue)
    // Recorded times never decrease.
    while low < high {
      let middle = (low + high + 1) / 2
      guard let event = try await events(after: Position(middle - 1), limit: 1).first else { break }
      if event.recordedAt <= time { low = middle } else { high = middle - 1 }
    }
    return Position(low)
  }

  /// Returns the number of positions that are missing between the archived ones and the head: 0 in a sound store.
  package func missingPositions() async throws(EventStoreError) -> Int64 {
    try await translating {
      try await pool.query(
        """
        select greatest(coalesce(max(position), 0) - event_store.archived_position(), 0) - count(*)
        from event_store.events
        """, timeout: .seconds(3600)
      ).value(Int64.self)
    }
  }
}
