public import EventSourcing
internal import FoundationEssentials
internal import Postgres

extension PostgresEventStore {
  private static let columns =
    "e.position, e.stream, e.version, e.hash, e.id, e.type, e.schema_version, e.data, e.metadata, e.recorded_at"

  public func events(
    in stream: StreamID, after version: Version, limit: Int
  ) async throws(EventStoreError) -> [RecordedEvent] {
    try await events(in: [stream: StreamCursor(version: version)], limit: limit)[stream] ?? []
  }

  public func events(
    in streams: [StreamID: StreamCursor], limit: Int
  ) async throws(EventStoreError) -> [StreamID: [RecordedEvent]] {
    guard !streams.isEmpty else { return [:] }
    return Dictionary(grouping: try await read(Self.events(of: streams, limit: limit)).events, by: \.stream)
  }

  static func events(of streams: [StreamID: StreamCursor], limit: Int) -> Query {
    """
    select \(unescaped: columns) from event_store.stream_events(
      \(array: streams.keys.map(\.rawValue)), \(array: streams.values.map(\.version.rawValue)),
      \(array: streams.values.map(\.position.rawValue)), \(Int32(clamping: limit))) e
    """
  }

  public func events(after position: Position, limit: Int) async throws(EventStoreError) -> [RecordedEvent] {
    let events = try await read(
      """
      select \(unescaped: Self.columns) from event_store.events e
      where e.position > \(position.rawValue) order by e.position limit \(limit)
      """
    ).events
    // Positions have no gaps, and the store's last event is never archived: so archived events show as a gap.
    if let first = events.first, first.position > position.advanced(by: 1) {
      try await refuseArchived(after: position)
      throw .unavailable("archived events were attached while events were read")
    }
    return events
  }

  /// Returns the last archived position; `start` if no event is archived.
  package func archivedPosition() async throws(EventStoreError) -> Position {
    try await translating {
      Position(try await pool.query("select event_store.archived_position()").value(Int64.self))
    }
  }

  /// Throws if events after this position are archived.
  package func refuseArchived(after position: Position) async throws(EventStoreError) {
    let archived = try await archivedPosition()
    if position < archived { throw .refusing(upTo: archived, needed: position.advanced(by: 1)) }
  }

  public func page(
    of partition: Partition, from position: Position, categories: Set<String>, limit: PageLimit
  ) async throws(EventStoreError) -> PartitionPage {
    let buckets = partition.buckets
    return try await read(
      """
      select \(unescaped: Self.columns) from event_store.bucket_page(
        \(Int32(buckets.lowerBound)), \(Int32(buckets.upperBound - 1)), \(position.rawValue), \(array: Array(categories)),
        \(Int32(clamping: limit.events)), \(Int64(limit.bytes))) e
      """)
  }

  private func read(_ query: Query) async throws(EventStoreError) -> PartitionPage {
    try await translating {
      let historyID = history.seen.historyID
      let page = try Self.page(of: try await pool.query(query))
      // The next append checks that the events returned here are still there.
      if let historyID, let last = page.events.max(by: { $0.position < $1.position }) {
        history.saw(last.position, last.id, in: historyID)
      }
      return page
    }
  }

  static func events(of rows: ResultSet) throws(PostgresError) -> [RecordedEvent] { try page(of: rows).events }

  /// A row of nulls says that no events follow.
  private static func page(of rows: ResultSet) throws(PostgresError) -> PartitionPage {
    var events: [RecordedEvent] = []
    events.reserveCapacity(rows.count)
    for index in 0..<rows.count {
      guard try rows[index].column(0, as: Int64?.self) != nil else {
        return PartitionPage(events: events, isLast: true)
      }
      events.append(try RecordedEvent(rows[index]))
    }
    return PartitionPage(events: events, isLast: false)
  }
}

extension RecordedEvent {
  fileprivate init(_ row: Row) throws(PostgresError) {
    let recordedAt = try row.column(9, as: PostgresTimestamp.self)
    self.init(
      position: Position(try row.column(0)), stream: StreamID(rawValue: try row.column(1)),
      version: Version(try row.column(2)), hash: UInt16(truncatingIfNeeded: try row.column(3, as: Int.self)),
      id: try row.column(4, as: UUID.self), type: try row.column(5), schemaVersion: try row.column(6),
      data: try row.column(7, as: PostgresBytes.self).bytes, metadata: try row.column(8, as: PostgresBytes.self).bytes,
      recordedAt: Timestamp(recordedAt))
  }
}
