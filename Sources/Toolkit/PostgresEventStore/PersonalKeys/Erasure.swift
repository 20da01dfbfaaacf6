package import EventSourcing
package import FoundationEssentials
package import Postgres

/// The erasure of a person, as it is known outside the write store.
package struct Erasure: Sendable, Hashable {
  /// The event that erased the person.
  package struct Event: Sendable, Hashable {
    package let stream: StreamID
    package let schemaVersion: Int
    /// JSON.
    package let data, metadata: String

    package init(stream: StreamID, schemaVersion: Int, data: String, metadata: String) {
      (self.stream, self.schemaVersion, self.data, self.metadata) = (stream, schemaVersion, data, metadata)
    }
  }

  /// The type of the event, in a stream of any category.
  static let type = "PersonalDataErased"

  package let person: String
  package let erasedAt: Timestamp
  /// nil for an erasure by an earlier version.
  package let event: Event?

  package init(person: String, erasedAt: Timestamp, event: Event?) {
    (self.person, self.erasedAt, self.event) = (person, erasedAt, event)
  }

  typealias Row = (String, PostgresTimestamp, String?, Int?, String?, String?)

  /// - Parameter row: person, time, stream, schema version, data and metadata.
  init(_ row: Row) {
    var event: Event?
    if let stream = row.2, let schemaVersion = row.3, let data = row.4, let metadata = row.5 {
      event = Event(stream: StreamID(rawValue: stream), schemaVersion: schemaVersion, data: data, metadata: metadata)
    }
    self.init(person: row.0, erasedAt: Timestamp(row.1), event: event)
  }
}

/// The place of an erasure in the write store: after it come those with a greater position, or the same one (0: not known)
/// and a greater person.
package struct ErasurePlace: Sendable, Hashable {
  static let start = ErasurePlace(position: -1, person: "")

  let position: Int64
  let person: String
}

/// The erasures of the write store.
package struct Erasures: Sendable {
  private static let pageSize = 200

  private let pool: PostgresPool

  /// - Parameter writeStore: a pool on the write store.
  package init(_ writeStore: PostgresPool) { pool = writeStore }

  package func historyID() async throws -> UUID {
    try await pool.query("select history_id from event_store.identity").value(UUID.self)
  }

  /// Returns the next erasures after a place, in the order of their places.
  func page(after place: ErasurePlace) async throws -> [(place: ErasurePlace, erasure: Erasure)] {
    try await pool.query(
      """
      select k.erased_position, k.person, k.erased_at, e.stream, e.schema_version, e.data::text, e.metadata::text
      from personal.keys k left join event_store.events e on e.position = k.erased_position
      where k.key is null and (k.erased_position, k.person) > (\(place.position), \(place.person))
      order by k.erased_position, k.person limit \(Self.pageSize)
      """
    ).decode((Int64, String, PostgresTimestamp, String?, Int?, String?, String?).self).map { row in
      (
        ErasurePlace(position: row.0, person: row.1), Erasure((row.1, row.2, row.3, row.4, row.5, row.6))
      )
    }
  }

  /// Returns which of some persons are not erased in the write store.
  package func missing(of persons: [String]) async throws -> [String] {
    try await pool.query(
      """
      select u.person from unnest(\(array: persons)) as u(person)
      where not exists (select from personal.keys k where k.person = u.person and k.key is null)
      """
    ).decode(String.self)
  }
}

extension PostgresConnection {
  /// Repeats erasures, in the caller's transaction. A person who has a stream gets the event again, at a new position; the
  /// trigger erases the key, and read models follow. A person without a stream, or whose event is not known, only loses the
  /// key. Nothing happens to those who are erased already.
  /// - Parameter historyID: the history id of the store.
  func repeatErasures(_ erasures: ArraySlice<Erasure>, in historyID: UUID) throws {
    // Appends wait, so that nobody erases one of these persons meanwhile.
    try query("select pg_advisory_xact_lock(7310029201180266610)")
    let persons = erasures.map(\.person)
    let open: [String] = try query(
      """
      select u.person from unnest(\(array: persons)) as u(person)
      where not exists (select from personal.keys k where k.person = u.person and k.key is null)
      """
    ).decode()
    let names = erasures.compactMap { $0.event?.stream.rawValue }
    let streams: [String] = try query(
      "select s.stream from event_store.streams s where s.stream = any(\(array: names))"
    ).decode()
    let (isOpen, isThere) = (Set(open), Set(streams))
    let own = erasures.filter { isOpen.contains($0.person) }
    let events = own.compactMap(\.event).filter { isThere.contains($0.stream.rawValue) }
    if !events.isEmpty { try append(events, in: historyID) }
    try query(
      """
      insert into personal.keys as k (person, key, erased_at)
      select u.person, null, u.at from unnest(\(array: own.map(\.person)), \(array: own.map { PostgresTimestamp($0.erasedAt) }))
        as u(person, at)
      on conflict (person) do update set key = null, erased_at = excluded.erased_at where k.key is not null
      """)
  }

  private func append(_ events: [Erasure.Event], in historyID: UUID) throws {
    let none: [String] = []
    let change = try query(
      """
      select history from event_store.append(
        \(historyID), 0, null, \(array: none), \(array: [Int64]()), \(array: none), \(array: none), \(array: [Bool]()),
        \(array: [UUID]()), \(array: [Int32]()), \(array: none), \(array: [Int32]()),
        \(array: events.map(\.stream.rawValue)), \(array: events.map { Int32($0.stream.hash) }),
        \(array: events.map { _ in UUID.v7() }), \(array: events.map { _ in Erasure.type }),
        \(array: events.map { Int32($0.schemaVersion) }), \(array: events.map(\.data)), \(array: events.map(\.metadata)),
        \(array: [Int32]()))
      """
    ).value(String?.self)
    if let change { throw EventStoreError.historyChanged(change) }
  }
}
