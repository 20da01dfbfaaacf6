import CommandProcessing
import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@Suite("The archive of events", .tags(.integration), .needsServers)
struct ArchiveTests {
  @Test(
    "A reader that needs archived events gets an error, and never skips one", .freshDatabase(eventStoreSchema))
  func refusals() async throws {
    let fixture = try await ArchiveFixture()
    try await fixture.count(19)
    try await fixture.count(31, in: ["d"])
    let (store, before) = (fixture.store, try await fixture.all())
    let heads = try await store.heads(of: .standard)
    try await fixture.archiveFirst()

    #expect(try await store.archivedPosition() == Position(20))
    #expect(try await store.head() == Position(50))
    #expect(try await store.missingPositions() == 0)
    // Also those partitions have their heads whose last events are archived.
    #expect(try await store.heads(of: .standard) == heads)
    await fixture.refuses(upTo: 20, attach: 1) { _ = try await store.events(after: .start, limit: 10) }
    await fixture.refuses(upTo: 20, attach: 20) { _ = try await store.events(after: Position(19), limit: 10) }
    #expect(try await store.events(after: Position(20), limit: 100) == Array(before[20...]))
    await fixture.refuses(upTo: 20, attach: 1) {
      _ = try await store.events(in: Tally.stream("a"), after: .none, limit: 10)
    }
    await fixture.refuses(upTo: 20, attach: 20) {
      _ = try await store.events(in: Tally.stream("d"), after: .none, limit: 10)
    }
    #expect(try await store.events(in: Tally.stream("d"), after: Version(1), limit: 100).count == 30)
    #expect(try await store.events(in: Tally.stream("a"), after: Version(7), limit: 100).isEmpty)

    let one = try #require(Partitioning(count: 1)).partitions[0]
    func page(_ partition: Partition, _ position: Int64, limit: Int = 10) async throws -> PartitionPage {
      try await store.page(
        of: partition, from: Position(position), categories: ["tally"], limit: PageLimit(events: limit))
    }
    await fixture.refuses(upTo: 20, attach: 19) { _ = try await page(one, 19) }
    // A checkpoint at the last archived event finds it.
    #expect(try await page(one, 20, limit: 4).events == Array(before[19..<23]))
    #expect(try await page(one, 20, limit: 1).events == [before[19]])
    for head in heads where head.position > .start && head.position <= Position(20) {
      let found = try await page(head.partition, head.position.rawValue)
      #expect(found.events.first?.id == head.eventID && found.isLast)
      await fixture.refuses(upTo: 20, attach: 1) { _ = try await page(head.partition, 1) }
    }
    await fixture.refuses(upTo: 20, attach: 1) {
      _ = try await store.digests(of: ["tally"], in: [(one, .start, Position(50))])
    }
    await fixture.refuses(upTo: 20, attach: 1) {
      _ = try await store.streams(
        inBucket: 0, beginningAfter: .start, upTo: Position(50), categories: ["tally"], limit: 10)
    }
    #expect(try await store.position(at: before[30].recordedAt) >= Position(31))
    #expect(try await store.position(at: before[3].recordedAt) == Position(20))
  }

  @Test(
    "Commands on a stream with an archived past are decided on its snapshot, and appends continue",
    .freshDatabase(eventStoreSchema))
  func decisions() async throws {
    let fixture = try await ArchiveFixture()
    // It has seen an event that is archived later, and is idle meanwhile.
    let idle = AnyStore(PostgresEventStore(fixture.pool))
    try await withProcessor(idle) { idleProcessor in
      _ = try await idleProcessor.execute(Count(ids: ["a"]))
      try await fixture.count(19)
      try await fixture.count(11, in: ["d"])
      try await fixture.archiveFirst()
      _ = try await idleProcessor.execute(Count(ids: ["b"]))
    }
    try await withProcessor(AnyStore(PostgresEventStore(fixture.pool))) { processor in
      // a, b and c have 8, 7 and 6 events, b one since. No snapshot is due at that size: the archive saved it.
      await #expect(throws: Rejection.self) { _ = try await processor.execute(Count(ids: ["a"], limit: 8)) }
      let receipt = try await processor.execute(Count(ids: ["a", "b", "c", "d"], limit: 100))
      #expect(receipt.streams[Tally.stream("a")]?.version == Version(9))
      #expect(receipt.streams[Tally.stream("b")]?.version == Version(8))
    }
    #expect(try await fixture.pool.query("select lost_event from event_store.identity").value(String?.self) == nil)
    // Older snapshots, and those of another history, do not replace the ones that the archive needs.
    try await fixture.store.save(
      Snapshot(
        stream: Tally.stream("c"), schemaVersion: 1, version: Version(99), position: Position(19), eventID: .v7(),
        state: Array(#"{"sum":0}"#.utf8)))
    let tally: Tally = try await fixture.store.state(Tally.self, "c") { _ in }
    #expect(tally.sum == 7)
  }

  @Test(
    "A stream whose snapshot is gone fails alone, with an error", .freshDatabase(eventStoreSchema))
  func lostSnapshot() async throws {
    let fixture = try await ArchiveFixture()
    try await fixture.count(40)
    try await fixture.archiveFirst()
    try await fixture.pool.query("delete from event_store.snapshots where stream = 'tally-a'")
    try await withProcessor(AnyStore(PostgresEventStore(fixture.pool))) { processor in
      async let other = processor.execute(Count(ids: ["b"]))
      await #expect {
        _ = try await processor.execute(Count(ids: ["a", "c"]))
      } throws: {
        "\($0)".contains("events up to 20 are archived")
      }
      _ = try await other
    }
  }

  @Test(
    "Attached partitions have the same events as before, and are archived again in the same files",
    .freshDatabase(eventStoreSchema))
  func attached() async throws {
    let fixture = try await ArchiveFixture()
    try await fixture.count(90)
    let before = try await fixture.all()
    let files = [try await fixture.archiveFirst(), try await fixture.archiveFirst(), try await fixture.archiveFirst()]
    let names = try fixture.files
    #expect(names == files.map(\.name))
    let written = try await fixture.archive.files()
    #expect(written == files.reversed())
    // Only the last one: the events in the store have no gap.
    await #expect(throws: PostgresError.self) { try await fixture.archive.attach(files[0], from: fixture.folder) }
    try await fixture.archive.attach(files[2], from: fixture.folder)
    await fixture.refuses(upTo: 40, attach: 40) { _ = try await fixture.store.events(after: Position(39), limit: 1) }
    for file in files[..<2].reversed() { try await fixture.archive.attach(file, from: fixture.folder) }
    // The line ends between values are spaces now; everything else has its form.
    let after = try await fixture.all()
    #expect(after.map(\.id) == before.map(\.id) && after.map(\.recordedAt) == before.map(\.recordedAt))
    #expect(after.map(\.hash) == before.map(\.hash) && after.map(\.version) == before.map(\.version))
    #expect(String(decoding: after[0].data, as: UTF8.self) == #"{"amount": 1, "text": "a\nb", "form": 1.50e0}"#)
    #expect(after[60...] == before[60...])
    #expect(try await fixture.store.events(in: Tally.stream("a"), after: .none, limit: 100).count == 30)
    #expect(try await fixture.pool.query("select 1 from event_store.archived_heads").count == 0)
    // An attached partition refuses changes like any other.
    await #expect(throws: PostgresError.self) { try await fixture.pool.query("delete from event_store.events_1") }
    await #expect(throws: PostgresError.self) { try await fixture.pool.query("truncate event_store.events_21") }
    for file in files { #expect(try await fixture.archiveFirst() == file) }
    #expect(try fixture.files == names)
  }

  @Test(
    "An archive that is interrupted between any two steps loses nothing, and goes on", .freshDatabase(eventStoreSchema))
  func interrupted() async throws {
    let fixture = try await ArchiveFixture()
    try await fixture.count(50)
    let part = try #require(try await fixture.archive.firstPart())
    // A file that was not finished, and one that was, before the store changed.
    try Data("{".utf8).write(to: URL(fileURLWithPath: "\(fixture.path)/events-1.partial"))
    let unused = try await fixture.archive.write(part, to: fixture.folder)
    #expect(try await fixture.all().count == 50)
    let file = try await fixture.archive.write(part, to: fixture.folder)
    let names = try fixture.files
    #expect(file == unused && names == [file.name])
    // The partition is detached, and its table is still there.
    let reader = try await FreshDatabase.current.connect()
    try await reader.execute("begin isolation level repeatable read; select 1 from event_store.identity")
    #expect(try await fixture.archive.detach(file) == nil)
    #expect(try await fixture.archive.dropDetached(within: .zero) == false)
    try await reader.execute("rollback")
    #expect(try await fixture.archive.detach(file)?.contains("not the first one any more") == true)
    // A file that was read back in part.
    try await fixture.pool.query("select event_store.prepare_attaching(1)")
    let line =
      #"{"position":1,"stream":"tally-a","version":1,"hash":1,"id":"\#(UUID.v7())","type":"X","schemaVersion":1,"recordedAt":"2026-01-01T00:00:00Z","data":{},"metadata":{}}"#
    try await fixture.pool.query("select event_store.load_archived(1, \(array: [line]))")
    await #expect(throws: PostgresError.self) {
      try await fixture.pool.query("select event_store.attach_partition(1)")
    }
    await fixture.refuses(upTo: 20, attach: 1) { _ = try await fixture.store.events(after: .start, limit: 1) }
    try await fixture.archive.attach(file, from: fixture.folder)
    #expect(try await fixture.all().map(\.position.rawValue) == Array(1...50))
  }

  @Test("A damaged file is not attached", .freshDatabase(eventStoreSchema))
  func damaged() async throws {
    let fixture = try await ArchiveFixture()
    try await fixture.count(50)
    let file = try await fixture.archiveFirst()
    let url = fixture.folder.file(file.name)
    let content = try Data(contentsOf: url)
    let text = String(decoding: content, as: UTF8.self)
    for damaged in [
      "", String(text.dropLast(1)), String(text.prefix(text.count / 2)),
      text.replacing("\"amount\": 1", with: "\"amount\": 2"),
      text.replacing("counterflow-events", with: "other-events"), text + "{}\n",
    ] {
      try Data(damaged.utf8).write(to: url)
      await #expect(throws: DamagedArchive.self) { try await fixture.archive.attach(file, from: fixture.folder) }
      #expect(try await fixture.store.archivedPosition() == Position(20))
    }
    try content.write(to: url)
    try await fixture.archive.attach(file, from: fixture.folder)
    #expect(try await fixture.all().count == 50)
  }

  @Test(
    "Events stay that the relay, the last append or a stream without snapshots needs", .freshDatabase(eventStoreSchema))
  func obstacles() async throws {
    let fixture = try await ArchiveFixture()
    try await fixture.count(20)
    let part = try #require(try await fixture.archive.firstPart())
    #expect(try await fixture.archive.obstacle(to: part)?.contains("the last event of the store stays") == true)
    try await fixture.count(5)
    try await fixture.pool.query(
      """
      insert into event_store.cursors (name, history_id, position, event_id)
      select 'integration', history_id, 20, gen_random_uuid() from event_store.identity
      """)
    #expect(try await fixture.archive.obstacle(to: part)?.contains("the feed integration has published up to") == true)
    try await fixture.pool.query("update event_store.cursors set position = 21")
    #expect(try await fixture.archive.obstacle(to: part) == nil)
    try await fixture.pool.query("update event_store.identity set timeline = 'other'")
    #expect(try await fixture.archive.obstacle(to: part)?.contains("restore-finished") == true)
    await #expect {
      _ = try await fixture.archive.cover(part, [Thing.self])
    } throws: {
      "\($0)".contains("the stream tally-a, whose state would be lost")
    }
    #expect(try await fixture.archive.cover(part, [Tally.self, Tally.self], isDryRun: true) == 3)
    #expect(try await fixture.archive.cover(part, [Tally.self]) == 3)
    #expect(try await fixture.archive.cover(part, [Tally.self]) == 0)
  }
}
