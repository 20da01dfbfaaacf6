import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import Projections
@testable import Simulation

extension SimulatedEventStore {
  /// A store on a database of its own, on which nothing goes wrong.
  static func alone() -> SimulatedEventStore {
    let database = Database("write store", seed: 1)
    return SimulatedEventStore(Link(direct: database), database)
  }
}

/// The simulation proves nothing about a system whose stores behave otherwise: the same calls must have the same results.
@Suite("Simulated stores beside PostgreSQL", .tags(.integration), .needsServers)
struct SimulatedStoreTests {
  @Test(
    "The same appends and reads give the same", .freshDatabase(eventStoreSchema),
    arguments: 1...6 as ClosedRange<UInt64>)
  func events(seed: UInt64) async throws {
    var chance = SplitMix(state: seed)
    let pool = FreshDatabase.current.pool()
    let (real, simulated) = (PostgresEventStore(pool), SimulatedEventStore.alone())
    let streams = (0..<6).map { StreamID(rawValue: "thing-\($0)") }
    var (versions, keys): ([StreamID: Int64], [IdempotencyKey]) = ([:], [])
    for step in 0..<80 {
      let batch = batch(streams, versions, &keys, &chance)
      let results = (try await real.append(batch), try await simulated.append(batch))
      #expect(Self.text(results.0) == Self.text(results.1), "step \(step) of seed \(seed)")
      if case .appended = results.0 { for event in batch.events { versions[event.stream, default: 0] += 1 } }
      if step % 8 == 7 { try await compareReads(real, simulated, streams, &chance) }
    }
    try await compareReads(real, simulated, streams, &chance)
    #expect(try await real.head() > .start)
  }

  private func batch(
    _ streams: [StreamID], _ versions: [StreamID: Int64], _ keys: inout [IdempotencyKey], _ chance: inout SplitMix
  ) -> AppendBatch {
    var (events, commands, expected): ([NewEvent], [AppendBatch.Command], [StreamID: Version]) = ([], [], [:])
    var used: Set<IdempotencyKey> = []
    for _ in 0..<Int.random(in: 1...3, using: &chance) {
      // Some keys are known already.
      let key =
        keys.isEmpty || Int.random(in: 0..<4, using: &chance) > 0
        ? IdempotencyKey(scope: "tests", key: "\(UInt64.random(in: 0...UInt64.max, using: &chance))")
        : keys[Int.random(in: 0..<keys.count, using: &chance)]
      guard used.insert(key).inserted else { continue }
      keys.append(key)
      let count = Int.random(in: 0...3, using: &chance)
      for _ in 0..<count {
        let stream = streams[Int.random(in: 0..<streams.count, using: &chance)]
        // Some expectations are wrong.
        let wrong: Int64 = Int.random(in: 0..<12, using: &chance) == 0 ? 1 : 0
        if Bool.random(using: &chance), expected[stream] == nil {
          expected[stream] = Version((versions[stream] ?? 0) + wrong)
        }
        events.append(
          NewEvent(
            stream: stream, id: UUID(), type: "Happened", schemaVersion: 1, data: Array(#"{"n":1}"#.utf8),
            metadata: Array("{}".utf8)))
      }
      let hasPosition = count > 0
      commands.append(
        .init(
          key: key, fingerprint: UUID(), eventCount: count,
          response: Int.random(in: 0..<5, using: &chance) == 0 && count == 0
            ? nil
            : ResponseTemplate(
              Array((hasPosition ? "at \u{1}" : "nothing").utf8), offset: hasPosition ? events.count - 1 : nil)))
    }
    return AppendBatch(expectedVersions: expected, events: events, commands: commands)
  }

  private static func text(_ result: AppendResult) -> String {
    func text(_ repeats: [Int: StoredResponse]) -> String {
      repeats.sorted { $0.key < $1.key }.map { "\($0.key): \(String(decoding: $0.value.text, as: UTF8.self))" }
        .joined(separator: ", ")
    }
    switch result {
    case .appended(let first, _, let repeats, _): return "appended \(first), \(text(repeats))"
    case .notAppended(let conflicts, let repeats):
      let versions = conflicts.map { "\($0.key) \($0.value)" }.sorted().joined(separator: ", ")
      return "not appended: \(versions), \(text(repeats))"
    case .restored(let afterLoss): return "restored \(afterLoss)"
    }
  }

  /// An event without the time, which the stores have from different clocks.
  private struct Read: Equatable {
    let position: Position, stream: StreamID, version: Version, id: UUID

    init(_ event: RecordedEvent) {
      (position, stream, version, id) = (event.position, event.stream, event.version, event.id)
    }
  }

  private func compareReads(
    _ real: any EventStore, _ simulated: any EventStore, _ streams: [StreamID], _ chance: inout SplitMix
  ) async throws {
    let head = try await real.head()
    #expect(try await simulated.head() == head)
    let after = Position(Int64.random(in: 0...head.rawValue, using: &chance))
    let limit = Int.random(in: 1...20, using: &chance)
    #expect(
      try await real.events(after: after, limit: limit).map(Read.init)
        == simulated.events(after: after, limit: limit).map(Read.init))
    var cursors: [StreamID: StreamCursor] = [:]
    for stream in streams { cursors[stream] = StreamCursor(version: Version(Int64.random(in: 0...5, using: &chance))) }
    let (a, b) = (
      try await real.events(in: cursors, limit: limit), try await simulated.events(in: cursors, limit: limit)
    )
    #expect(a.mapValues { $0.map(Read.init) } == b.mapValues { $0.map(Read.init) })
    for count in [1, 4, 16] {
      let partitioning = try #require(Partitioning(count: count))
      #expect(try await real.heads(of: partitioning) == simulated.heads(of: partitioning))
      let partition = partitioning.partitions[Int.random(in: 0..<count, using: &chance)]
      for categories in [["thing"], []] as [Set<String>] {
        // Where the real store ends a page early is its own affair: all pages together must be the same.
        let (own, other) = (
          try await pages(of: partition, after, categories, real),
          try await pages(of: partition, after, categories, simulated)
        )
        #expect(own == other)
      }
    }
  }

  private func pages(
    of partition: Partition, _ start: Position, _ categories: Set<String>, _ store: any EventStore
  ) async throws -> [Read] {
    var (found, from): ([Read], Position) = ([], start)
    while true {
      let page = try await store.page(of: partition, from: from, categories: categories, limit: PageLimit(events: 7))
      for event in page.events where event.position >= from && (found.last.map { event.position > $0.position } ?? true)
      {
        // The ends of a page depend on where it ends.
        if categories.contains("thing") { found.append(Read(event)) }
      }
      guard let last = page.events.last, !page.isLast, last.position > from || page.events.count > 1 else {
        return found
      }
      from = last.position
    }
  }
}
