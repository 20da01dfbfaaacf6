package import EventSourcing
package import Foundation
internal import Machine
package import Postgres

/// Moves the first partitions of events out of the store into files, and back.
///
/// Each step is safe to repeat, and a process may be killed between any two: a partition leaves the store only after its
/// file has been read back, in the transaction that records the file.
package struct Archive: Sendable {
  /// A range of positions whose events are moved together.
  package struct Part: Sendable, Hashable {
    /// Positions from `lower` to `upper - 1`.
    package let lower: Int64
    package let upper: Int64
    /// When its last event was recorded; nil while it still has room.
    package let endedAt: Timestamp?
  }

  /// A partition's file.
  package struct File: Sendable, Hashable {
    /// Positions from `lower` to `upper - 1`.
    package let lower: Int64
    package let upper: Int64
    package let historyID: UUID
    package let location: String
    package let name: String
    /// The SHA-256 of the whole file, in hexadecimal digits.
    package let sha256: String

    var header: ArchiveHeader { ArchiveHeader(historyID: historyID, first: lower, last: upper - 1) }
  }

  /// The most events, and about the most bytes, that are read at once.
  private static let page = (events: 500, bytes: Int64(8 * 1024 * 1024))
  /// For statements that read or check a whole partition.
  private static let patience = Duration.seconds(3_600)

  let store: PostgresEventStore
  private var pool: PostgresPool { store.pool }

  /// - Parameter pool: a pool on the write store, of the user that owns it.
  package init(_ pool: PostgresPool) { store = PostgresEventStore(pool) }

  /// Returns the first partition that is in the store.
  package func firstPart() async throws -> Part? {
    try await pool.query(
      """
      select p.lower, p.upper, (select e.recorded_at from event_store.events e where e.position = p.upper - 1)
      from event_store.partitions p order by p.lower limit 1
      """
    ).decode((Int64, Int64, PostgresTimestamp?).self).first.map {
      Part(lower: $0.0, upper: $0.1, endedAt: $0.2.map { Timestamp($0) })
    }
  }

  /// Returns the position of a partition's last event in each of the 64 ranges of hashes that has one.
  package func heads(of part: Part) async throws -> [Int: Position] {
    let heads = try await pool.query(
      """
      select b.index, h.position from generate_series(0, 63) as b(index)
      cross join lateral (
        select e.position from event_store.events_\(unescaped: "\(part.lower)") e where (e.hash >> 10) = b.index
        order by (e.hash >> 10) desc, e.position desc limit 1) h
      """, timeout: Self.patience
    ).decode((Int, Int64).self)
    return Dictionary(uniqueKeysWithValues: heads.map { ($0.0, Position($0.1)) })
  }

  /// Returns why a partition must stay in the store, as far as the write store knows; nil if it may go.
  package func obstacle(to part: Part) async throws -> String? {
    try await pool.query("select event_store.obstacle_to_archiving(\(part.upper))").value(String?.self)
  }

  /// Writes a partition to a file, and reads it back. The store does not change.
  package func write(_ part: Part, to storage: some ArchiveStorage) async throws -> File {
    let header = ArchiveHeader(historyID: try await store.historyID(), first: part.lower, last: part.upper - 1)
    var writer = try ArchiveWriter(storage.workFolder.appendingPathComponent("events-\(part.lower).partial"), header)
    var position = part.lower - 1
    while position < header.last {
      let lines = try await lines(of: part, after: position)
      guard let last = lines.last else { break }
      try writer.write(lines)
      position = last.position
    }
    let sha256 = try writer.finish()
    let file = File(
      lower: part.lower, upper: part.upper, historyID: header.historyID, location: storage.location,
      name: header.fileName(sha256), sha256: sha256)
    try await storage.store(writer.url, as: file.name)
    try await ArchiveReader(url: storage.file(file.name), header: header, sha256: sha256).read { _ in }
    return file
  }

  private func lines(of part: Part, after position: Int64) async throws -> [(position: Int64, line: [UInt8])] {
    // json keeps line ends between its values; in a string they are escaped.
    try await pool.query(
      """
      select l.position, translate(json_build_object(
        'position', l.position, 'stream', l.stream, 'version', l.version, 'hash', l.hash, 'id', l.id, 'type', l.type,
        'schemaVersion', l.schema_version,
        'recordedAt', to_char(l.recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'data', l.data, 'metadata', l.metadata)::text, E'\\n\\r', '  ')
      from (
        select e.*, sum(e.size) over (order by e.position) - e.size as before
        from (
          select e.*, octet_length(e.data::text) + octet_length(e.metadata::text) as size
          from event_store.events_\(unescaped: "\(part.lower)") e
          where e.position > \(position) order by e.position limit \(Self.page.events)) e) l
      where l.before < \(Self.page.bytes) order by l.position
      """, timeout: Self.patience
    ).decode((Int64, PostgresBytes).self).map { ($0.0, $0.1.bytes) }
  }

  /// Removes a partition from the store and records its file, in one transaction.
  /// - Returns: why the partition must stay; nil if it is gone.
  package func detach(_ file: File) async throws -> String? {
    let reason = try await pool.query(
      """
      select event_store.detach_partition(
        \(file.lower), \(file.historyID), \(file.location), \(file.name), \(file.sha256))
      """, timeout: Self.patience
    ).value(String?.self)
    return reason
  }

  /// Frees the space of partitions that are archived, once no transaction can read them any more.
  /// - Returns: whether nothing remains to be freed. Otherwise a later call does it.
  @discardableResult
  package func dropDetached(within patience: Duration = .seconds(30)) async throws -> Bool {
    let end = Machine.now + patience
    while true {
      if try await pool.query("select event_store.drop_detached()").value(Int64.self) == 0 { return true }
      guard Machine.now < end else { return false }
      try await Machine.sleep(for: .milliseconds(200))
    }
  }

  /// Returns the files of the events that are not in the store, the last one first.
  package func files() async throws -> [File] {
    try await pool.query(
      """
      select a.lower, a.upper, a.history_id, a.location, a.file, a.sha256 from event_store.archives a
      where a.upper <= event_store.archived_position() + 1 order by a.lower desc
      """
    ).decode((Int64, Int64, UUID, String, String, String).self).map {
      File(lower: $0.0, upper: $0.1, historyID: $0.2, location: $0.3, name: $0.4, sha256: $0.5)
    }
  }

  /// Reads a file back into the store. It must be the last one of `files()`.
  /// - Throws: `DamagedArchive`; the store then does not change.
  package func attach(_ file: File, from storage: some ArchiveStorage) async throws {
    guard try await dropDetached() else {
      throw EventStoreError.unavailable(
        "a long transaction still reads archived events: run it again after that")
    }
    let reader = ArchiveReader(url: try await storage.file(file.name), header: file.header, sha256: file.sha256)
    try await pool.query("select event_store.prepare_attaching(\(file.lower))", timeout: Self.patience)
    try await reader.read { lines in
      try await pool.query(
        """
        select event_store.load_archived(
          \(file.lower), \(array: lines.map { String(decoding: $0, as: UTF8.self) }))
        """, timeout: Self.patience)
    }
    try await pool.query("select event_store.attach_partition(\(file.lower))", timeout: Self.patience)
  }
}
