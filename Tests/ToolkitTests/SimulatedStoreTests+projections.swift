import EventSourcing
import Failures
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import Projections
@testable import Simulation

extension SimulatedStoreTests {
  @Test(
    "The same workers, rounds and parked streams give the same", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables), arguments: 1...6 as ClosedRange<UInt64>)
  func projections(seed: UInt64) async throws {
    var twin = try await Twin(seed)
    for step in 0..<150 { try await twin.step("step \(step) of seed \(seed)") }
    try await twin.compare("seed \(seed)")
    #expect(twin.written > 10)
    #expect(twin.fenced > 3)
  }
}

/// A store of projections on PostgreSQL, and a simulated one. Both get the same calls.
private struct Twin {
  private let pool: PostgresPool
  private let real: PostgresProjectionStore
  private let simulated: SimulatedProjectionStore
  private let database: Database
  private let projection = Projection(Counting())
  private let generation: Generation
  private let workers: [UUID]
  private let events: [RecordedEvent]
  private var chance: SplitMix
  private(set) var written = 0
  private(set) var fenced = 0

  init(_ seed: UInt64) async throws {
    chance = SplitMix(state: seed)
    pool = FreshDatabase.current.pool(.init(size: 4, acquireTimeout: .seconds(60)))
    real = PostgresProjectionStore(pool)
    database = Database("read store", seed: seed)
    simulated = SimulatedProjectionStore(Link(direct: database), database, hasEvents: false)
    let history = UUID()
    let partitioning = try #require(Partitioning(count: 4))
    for store in [real, simulated] as [any ProjectionStore] {
      #expect(
        try await store.add(projection, partitioning, historyID: history, state: .serving, start: nil) == 1)
      #expect(
        try await store.add(projection, partitioning, historyID: history, state: .serving, start: nil) == nil)
    }
    generation = try #require(try await real.generations(of: ["counting"]).first)
    #expect(try await simulated.generations(of: ["counting"]) == [generation])
    workers = (0..<3).map { _ in UUID() }
    var versions: [StreamID: Int64] = [:]
    var events: [RecordedEvent] = []
    for position in 1...400 as ClosedRange<Int64> {
      let stream = StreamID(rawValue: "thing-\(Int.random(in: 0..<12, using: &chance))")
      versions[stream, default: 0] += 1
      let type = Int.random(in: 0..<15, using: &chance) == 0 ? "Ended" : "Happened"
      events.append(
        RecordedEvent(
          position: Position(position), stream: stream, version: Version(versions[stream]!), hash: stream.hash,
          id: UUID(), type: type, schemaVersion: 1, data: Array("{}".utf8), metadata: Array("{}".utf8),
          recordedAt: .now))
    }
    self.events = events
  }

  private mutating func lane() -> Lane {
    let worker = workers[Int.random(in: 0..<workers.count, using: &chance)]
    return Lane(generation: generation, worker: worker, number: Int.random(in: 0..<2, using: &chance), count: 2)
  }

  /// Calls both stores, and compares what they answer.
  private func same<Answer: Equatable>(
    _ place: String, _ call: (any ProjectionStore) async throws -> Answer
  ) async throws {
    let (a, b) = (try await call(real), try await call(simulated))
    #expect(a == b, "\(place)")
  }

  mutating func step(_ place: String) async throws {
    let lane = lane()
    switch Int.random(in: 0..<12, using: &chance) {
    case 0..<2:
      try await same(place) {
        try await $0.renew(lane.worker, name: "w", running: [generation.service], for: .seconds(3_600))
        return true
      }
    case 2 where Int.random(in: 0..<3, using: &chance) == 0:
      try await same(place) {
        try await $0.leave(lane.worker)
        return true
      }
    case 3..<5:
      let count = Int.random(in: 1...2, using: &chance)
      try await same(place) { try await $0.claim(count, lane).map(Self.text).sorted() }
    case 5:
      let given = generation.partitioning.partitions.filter { _ in Bool.random(using: &chance) }
      try await same(place) {
        try await $0.release(given, lane)
        return try await $0.owned(lane).map(Self.text).sorted()
      }
    case 6:
      try await same(place) { try await $0.workers(of: generation.service) }
      try await same(place) { try await $0.unowned() }
      try await same(place) { try await $0.owned(lane).map(Self.text).sorted() }
    case 7: try await park(place, lane)
    case 8: try await unpark(place, lane)
    default: try await write(place, lane)
    }
  }

  private static func text(_ stored: StoredAssignment) -> String {
    "\(stored.partition.index) \(stored.historyID) \(stored.checkpoint)"
  }

  /// Writes a round on both.
  private mutating func write(_ part: RoundPart, _ lane: Lane, _ place: String) async throws {
    func outcome(_ store: any ProjectionStore) async -> String {
      do {
        try await store.write([part], by: lane.worker)
        return "written"
      } catch is FencedError { return "fenced" } catch { return "\(FailureKind(error))" }
    }
    let (a, b) = (await outcome(real), await outcome(simulated))
    #expect(a == b, "\(place)")
    if a == "written" { written += 1 }
    if a == "fenced" { fenced += 1 }
  }

  /// The next events of a partition of the lane, and its checkpoint. The lane need not own it.
  private mutating func next(_ lane: Lane) -> (partition: Partition, from: Checkpoint, events: [RecordedEvent]) {
    let index = lane.number + 2 * Int.random(in: 0..<2, using: &chance)
    let stored = database.contents.projections.checkpoints[.init("counting", 1)]![index]
    let partition = generation.partitioning.partitions[index]
    let own = events.filter { partition.contains($0.stream) && $0.position > stored.position }
      .prefix(Int.random(in: 0...12, using: &chance))
    return (partition, Checkpoint(position: stored.position, eventID: stored.eventID), Array(own))
  }

  private mutating func write(_ place: String, _ lane: Lane) async throws {
    let (partition, from, events) = next(lane)
    guard let last = events.last else { return }
    // Some rounds come from where the checkpoint is not.
    let isWrong = Int.random(in: 0..<8, using: &chance) == 0
    var part = RoundPart(generation: generation, rows: try await projection.plan(events, generation, UUID()))
    var applied = Ledger.Addition()
    applied.add(events, partition)
    part.move(
      Advance(
        partition: partition, from: isWrong ? Checkpoint(position: Position(999), eventID: UUID()) : from,
        to: Checkpoint(position: last.position, eventID: last.id), applied: applied))
    try await write(part, lane, place)
  }

  private mutating func park(_ place: String, _ lane: Lane) async throws {
    let (partition, from, events) = next(lane)
    guard let event = events.last else { return }
    let next: Refusal.Next = Bool.random(using: &chance) ? .person : .retry(after: .seconds(3_600))
    var part = RoundPart(
      generation: generation, rows: nil, changes: [.park(Refusal(event, error: "no", next), event.stream, partition)])
    part.move(Advance(partition: partition, from: from, to: from, applied: .init()))
    try await write(part, lane, place)
    try await compareParked(place)
  }

  private mutating func unpark(_ place: String, _ lane: Lane) async throws {
    let parked = try await real.parked(generation.partitioning.partitions, of: generation)
    guard let found = parked.randomElement(using: &chance) else { return }
    let isWrong = Int.random(in: 0..<3, using: &chance) == 0
    let expected = ParkedPlace(
      stream: found.stream, partition: found.partition, version: found.version,
      position: isWrong ? Position(999) : found.position, request: nil, needsAPerson: true)
    let last: ParkingChange =
      switch Int.random(in: 0..<3, using: &chance) {
      case 0: .unpark(found.stream)
      case 1: .resume(found.stream, at: events[Int.random(in: 0..<events.count, using: &chance)])
      default: .discard(found.stream)
      }
    var changes: [ParkingChange] = [.durably, .expect(expected), last]
    if case .discard = last { changes.append(.unpark(found.stream)) }
    try await write(RoundPart(generation: generation, rows: nil, changes: changes), lane, place)
    try await compareParked(place)
  }

  private func compareParked(_ place: String) async throws {
    try await same(place) { store in
      try await store.parked(generation.partitioning.partitions, of: generation)
        .map {
          "\($0.stream) \($0.partition) \($0.version) \($0.position) \($0.request?.rawValue ?? "") \($0.needsAPerson)"
        }
        .sorted()
    }
  }

  /// Compares everything that is stored.
  func compare(_ place: String) async throws {
    let tables = database.contents.projections
    let rows = try await pool.query(
      "select key, version, stream_hash, document::text from read_models.counting order by key"
    ).decode((String, Int64, Int64, String).self)
    let own = (tables.rows.rows["read_models.counting_g1"] ?? [:]).sorted { $0.key.text < $1.key.text }
    #expect(
      rows.map { "\($0.0) \($0.1) \($0.2) \($0.3)" }
        == own.map {
          "\($0.key.text) \($0.value.version) \($0.value.owner) \(String(decoding: $0.value.document, as: UTF8.self))"
        },
      "\(place)")
    #expect(!rows.isEmpty)
    let sums = try await pool.query(
      "select partition, digit, streams, events from read_models.counting_digits order by 1, 2"
    ).decode((Int, String, Int64, Int64).self)
    let ownSums = (tables.rows.sums["read_models.counting_digits_g1"] ?? [:])
      .map { "\($0.key.partition) \($0.key.groups[0]) \($0.value[0]) \($0.value[1])" }
    #expect(sums.map { "\($0.0) \($0.1) \($0.2) \($0.3)" }.sorted() == ownSums.sorted(), "\(place)")
    let checkpoints = try await pool.query(
      "select partition, owner, position, event_id, applied, ids from projections.checkpoints order by partition"
    ).decode((Int, UUID?, Int64, UUID?, Int64, Int64).self)
    let ownCheckpoints = tables.checkpoints[.init("counting", 1)]!.enumerated()
    #expect(
      checkpoints.map { "\($0.0) \($0.1 as Any) \($0.2) \($0.3 as Any) \($0.4) \($0.5)" }
        == ownCheckpoints.map {
          "\($0.offset) \($0.element.owner as Any) \($0.element.position.rawValue) \($0.element.eventID as Any) \($0.element.applied) \($0.element.ids)"
        }, "\(place)")
  }
}
