public import EventSourcing
internal import FoundationEssentials
internal import Postgres

/// How many events a reader has not come to.
public struct Backlog: Sendable, Hashable {
  /// Counted up to `Backlog.limit`.
  public let events: Int64
  /// When the first of them was recorded; nil when there is none.
  public let since: Timestamp?

  public static let limit: Int64 = 100_000

  public init(events: Int64, since: Timestamp?) {
    self.events = events
    self.since = since
  }
}

/// Some events of a partition, so that others who have seen them can tell: their number, and the lower halves of their
/// ids, xor-ed.
public struct EventsDigest: Sendable, Hashable {
  public let partition: Int
  /// Positions divided by 65,536.
  public let block: Int64
  public let count: Int64
  public let ids: Int64
}

// What people and checks ask about the store as a whole.
extension PostgresEventStore {
  /// What comes after a position in each of these partitions.
  public func backlogs(_ places: [(partition: Partition, after: Position)]) async throws(EventStoreError) -> [Backlog] {
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
        Backlog(events: row.0, since: row.1.map { Timestamp(microsecondsSince1970: $0.microsecondsSince1970) })
      }
    }
  }

  /// Digests of the events of some categories, up to a position in each partition. Reads the whole store.
  public func digests(
    of categories: Set<String>, upTo places: [(partition: Partition, position: Position)]
  ) async throws(EventStoreError) -> [EventsDigest] {
    try await translating {
      try await pool.query(
        """
        select u.partition, e.position >> 16, count(*),
          bit_xor(('x' || encode(substr(uuid_send(e.id), 9), 'hex'))::bit(64)::bigint)
        from event_store.events e
        join unnest(
          \(array: places.map { Int32($0.partition.index) }),
          \(array: places.map { Int32($0.partition.buckets.lowerBound) }),
          \(array: places.map { Int32($0.partition.buckets.upperBound - 1) }),
          \(array: places.map(\.position.rawValue))) as u(partition, first, last, position)
          on (e.hash >> 10) between u.first and u.last and e.position <= u.position
        where split_part(e.stream, '-', 1) = any(\(array: Array(categories)))
        group by 1, 2
        """, timeout: .seconds(3600)
      ).decode((Int, Int64, Int64, Int64).self).map {
        EventsDigest(partition: $0.0, block: $0.1, count: $0.2, ids: $0.3)
      }
    }
  }

  /// Streams that begin behind a position in one of the 64 ranges of hashes, in the order of their first events.
  package func streams(
    inBucket bucket: Int, beginningAfter position: Position, upTo end: Position, categories: Set<String>, limit: Int
  ) async throws(EventStoreError) -> [(stream: StreamID, position: Position)] {
    try await translating {
      // Its order is asked for whole, so that no plan can choose to walk along all positions.
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

  /// The last position that was recorded at or before a time.
  public func position(at time: Timestamp) async throws(EventStoreError) -> Position {
    var (low, high) = (Int64(0), try await head().rawValue)
    // Recorded times never run backwards.
    while low < high {
      let middle = (low + high + 1) / 2
      guard let event = try await events(after: Position(middle - 1), limit: 1).first else { break }
      if event.recordedAt <= time { low = middle } else { high = middle - 1 }
    }
    return Position(low)
  }

  /// Positions that are missing between 1 and the head: none, in a sound store.
  public func missingPositions() async throws(EventStoreError) -> Int64 {
    try await translating {
      try await pool.query(
        "select coalesce(max(position), 0) - count(*) from event_store.events", timeout: .seconds(3600)
      ).value(Int64.self)
    }
  }
}
