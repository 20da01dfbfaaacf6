import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

/// A write store with partitions of 20 positions, and a folder for their files.
struct ArchiveFixture {
  let pool: PostgresPool
  let store: PostgresEventStore
  let archive: Archive
  let path: String
  let folder: ArchiveFolder

  init() async throws {
    pool = FreshDatabase.current.pool()
    try await pool.withConnection { connection in
      try await connection.execute(
        """
        update event_store.identity set partition_size = 20;
        alter table event_store.events detach partition event_store.events_1;
        drop table event_store.events_1;
        delete from event_store.partitions;
        select event_store.add_partition();
        """)
    }
    (store, archive) = (PostgresEventStore(pool), Archive(pool))
    path = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("archive")).path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    folder = try ArchiveFolder(path)
  }

  /// The names of the files in the folder.
  var files: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: path).sorted() } }

  /// Appends events to tallies in turn, one event an append.
  func count(_ number: Int, in tallies: [String] = ["a", "b", "c"]) async throws {
    for n in 0..<number {
      let event = NewEvent(
        stream: Tally.stream(tallies[n % tallies.count]), id: .v7(), type: "Counted", schemaVersion: 1,
        // Line ends between values, an escaped one in a string, and a number with a form of its own.
        data: Array("{\"amount\": 1,\n\"text\": \"a\\nb\", \"form\": 1.50e0}".utf8), metadata: Array("{}".utf8))
      _ = try await store.append(AppendBatch(expectedVersions: [:], events: [event]))
    }
  }

  /// Does everything that the command does for one partition, except to look at read models.
  @discardableResult
  func archiveFirst() async throws -> Archive.File {
    let part = try #require(try await archive.firstPart())
    #expect(try await archive.obstacle(to: part) == nil)
    _ = try await archive.cover(part, [Tally.self])
    let file = try await archive.write(part, to: folder)
    #expect(try await archive.detach(file) == nil)
    #expect(try await archive.dropDetached())
    return file
  }

  func all() async throws -> [RecordedEvent] { try await store.events(after: .start, limit: 1_000) }

  /// Expects the error of a reader that needs archived events.
  func refuses(
    upTo last: Int, attach first: Int, _ read: () async throws -> Void,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async {
    await #expect(sourceLocation: sourceLocation) { try await read() } throws: { error in
      guard case .archived(let reason) = error as? EventStoreError else { return false }
      return reason == "events up to \(last) are archived; run `counterflow archive --attach \(first)`"
    }
  }
}
