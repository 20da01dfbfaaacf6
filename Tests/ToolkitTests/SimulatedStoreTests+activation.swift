import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import Projections
@testable import Simulation

extension SimulatedStoreTests {
  @Test(
    "The same generations are let to serve", .freshDatabase(eventStoreSchema, projectionsSchema, tables),
    arguments: 1...6 as ClosedRange<UInt64>)
  func activation(seed: UInt64) async throws {
    var rollout = try await Rollout(seed)
    for step in 0..<200 { try await rollout.step("step \(step) of seed \(seed)") }
    #expect(rollout.activated > 0)
    #expect(rollout.refused > rollout.activated)
  }
}

/// Two generations of a read model, with different partitions, on PostgreSQL and simulated.
private struct Rollout {
  private let real: PostgresProjectionStore
  private let simulated: SimulatedProjectionStore
  private let database: Database
  private let log = InMemoryEventStore()
  private let events: [RecordedEvent]
  private let generations: [Generation]
  private let workers = [UUID(), UUID()]
  private var chance: SplitMix
  private(set) var activated = 0
  private(set) var refused = 0

  init(_ seed: UInt64) async throws {
    chance = SplitMix(state: seed)
    real = PostgresProjectionStore(FreshDatabase.current.pool(.init(size: 4, acquireTimeout: .seconds(60))))
    database = Database("read store", seed: seed)
    simulated = SimulatedProjectionStore(Link(direct: database), database, hasEvents: false)
    for _ in 0..<60 {
      let stream = StreamID(rawValue: "thing-\(Int.random(in: 0..<12, using: &chance))")
      let event = NewEvent(
        stream: stream, id: UUID(), type: "Happened", schemaVersion: 1, data: Array("{}".utf8),
        metadata: Array("{}".utf8))
      _ = await log.append(AppendBatch(expectedVersions: [:], events: [event]))
    }
    events = await log.events(after: .start, limit: .max)
    let history = await log.historyID()
    for (number, state, count) in [
      (1, Generation.State.serving, 4), (2, .building, [1, 4, 16].randomElement(using: &chance)!),
    ] {
      for store in [real, simulated] as [any ProjectionStore] {
        let partitioning = try #require(Partitioning(count: count))
        #expect(
          try await store.add(Projection(Counting()), partitioning, historyID: history, state: state, start: nil)
            == number)
      }
    }
    generations = try await real.generations(of: ["counting"])
    #expect(try await simulated.generations(of: ["counting"]) == generations)
  }

  private var stores: [any ProjectionStore] { [real, simulated] }

  mutating func step(_ place: String) async throws {
    let (generation, worker) = (generations.randomElement(using: &chance)!, workers.randomElement(using: &chance)!)
    let lane = Lane(generation: generation, worker: worker, number: 0, count: 1)
    switch Int.random(in: 0..<10, using: &chance) {
    case 0:
      let services = generations.map(\.service).filter { _ in Int.random(in: 0..<4, using: &chance) > 0 }
      let leaves = Int.random(in: 0..<6, using: &chance) == 0
      for store in stores {
        if leaves {
          try await store.leave(worker)
        } else {
          try await store.renew(worker, name: "w", running: services, for: .seconds(3_600))
        }
      }
      for generation in generations {
        #expect(
          try await real.hasWorkers(generation) == simulated.hasWorkers(generation), Comment(rawValue: place))
      }
    case 1..<3: for store in stores { _ = try await store.claim(20, lane) }
    case 3..<8: try await advance(lane, place)
    default:
      let reasons = (
        try await real.activate(generation, of: log), try await simulated.activate(generation, of: log)
      )
      #expect((reasons.0 == nil) == (reasons.1 == nil), "\(place): \(reasons)")
      if reasons.0 == nil { activated += 1 } else { refused += 1 }
    }
  }

  /// Moves the checkpoints of a lane, and says how its partitions are doing.
  private mutating func advance(_ lane: Lane, _ place: String) async throws {
    let owned = try await simulated.owned(lane).sorted { $0.partition.index < $1.partition.index }
    #expect(try await real.owned(lane).count == owned.count, Comment(rawValue: place))
    var part = RoundPart(generation: lane.generation, rows: nil)
    for assignment in owned {
      let rest = events.filter {
        assignment.partition.contains($0.stream) && $0.position > assignment.checkpoint.position
      }
      // Mostly to the end.
      let isWhole = Int.random(in: 0..<4, using: &chance) > 0
      guard let last = isWhole ? rest.last : rest.randomElement(using: &chance) else { continue }
      part.move(
        Advance(
          partition: assignment.partition, from: assignment.checkpoint,
          to: Checkpoint(position: last.position, eventID: last.id), applied: .init()))
    }
    let reports = owned.map { assignment in
      AssignmentReport(
        partition: assignment.partition, mode: Int.random(in: 0..<40, using: &chance) == 0 ? "halted" : "live",
        position: nil, reason: nil)
    }
    for store in stores {
      try await store.write([part], by: lane.worker)
      try await store.report(reports, lane)
    }
  }
}
