import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import Reactions
@testable import Simulation

extension SimulatedStoreTests {
  @Test(
    "The same processes get the same leases", .freshDatabase(eventStoreSchema), arguments: 1...4 as ClosedRange<UInt64>)
  func leases(seed: UInt64) async throws {
    var chance = SplitMix(state: seed)
    let database = Database("write store", seed: seed)
    let real = PostgresLeases(FreshDatabase.current.pool(), table: "event_store.leases")
    let simulated = SimulatedLeases(Link(direct: database), database)
    let holders = (0..<3).map { _ in UUID() }
    var taken = 0
    for step in 0..<60 {
      let (name, holder) = ("lease \(Int.random(in: 0..<3, using: &chance))", holders.randomElement(using: &chance)!)
      guard Int.random(in: 0..<4, using: &chance) > 0 else {
        try await real.give(name, of: holder)
        try await simulated.give(name, of: holder)
        continue
      }
      // One that has expired already, or that does not within this test.
      let duration = Duration.seconds(Int.random(in: 0..<3, using: &chance) == 0 ? -60 : 3_600)
      let isTaken = try await real.take(name, for: holder, duration)
      #expect(try await simulated.take(name, for: holder, duration) == isTaken, "step \(step) of seed \(seed)")
      if isTaken { taken += 1 }
    }
    #expect((10..<60).contains(taken))
  }

  @Test(
    "The same scheduled commands are due", .freshDatabase(eventStoreSchema), arguments: 1...4 as ClosedRange<UInt64>)
  func deadlines(seed: UInt64) async throws {
    var chance = SplitMix(state: seed)
    let (pool, database) = (FreshDatabase.current.pool(), Database("write store", seed: seed))
    let link = Link(direct: database)
    let (realStore, simulatedStore) = (PostgresEventStore(pool), SimulatedEventStore(link, database))
    let (real, simulated) = (DeadlineTable(pool: pool), SimulatedDeadlines(link, database))
    let names = ["First", "Second", "Third"]
    var (all, seen): ([UUID], Int) = ([], 0)
    for step in 0..<60 {
      let place: Comment = "step \(step) of seed \(seed)"
      switch Int.random(in: 0..<6, using: &chance) {
      case 0..<3:
        let batch = batch(scheduling: names, firing: all.randomElement(using: &chance), &chance)
        all += batch.commands.flatMap(\.deadlines).map(\.id)
        for store in [realStore, simulatedStore] as [any EventStore] { _ = try await store.append(batch) }
      case 3:
        guard let id = all.randomElement(using: &chance) else { continue }
        let change = Int.random(in: 0..<3, using: &chance)
        for queue in [real, simulated] as [any DeadlineQueue] {
          switch change {
          case 0: try await queue.remove(id)
          case 1: try await queue.postpone(id, because: CancellationError())
          default: try await queue.fail(id, because: CancellationError())
          }
        }
      default:
        let (wanted, limit) = (names.filter { _ in Bool.random(using: &chance) }, Int.random(in: 1...5, using: &chance))
        let due = try await real.due(wanted, atMost: limit)
        #expect(try await simulated.due(wanted, atMost: limit).map(\.id) == due.map(\.id), place)
        let (a, b) = (try await real.counts(), try await simulated.counts())
        #expect([a.outstanding, a.stuck] == [b.outstanding, b.stuck], place)
        seen += due.count
      }
    }
    #expect(seen > 10)
  }

  /// A batch of one command. Its deadlines passed long ago, at different times, or are far away.
  private func batch(scheduling names: [String], firing: UUID?, _ chance: inout SplitMix) -> AppendBatch {
    let deadlines = (0..<Int.random(in: 0...2, using: &chance)).map { _ in
      let past = Int64.random(in: 1_000_000_000_000_000..<1_500_000_000_000_000, using: &chance)
      return Deadline(
        id: UUID(),
        due: Bool.random(using: &chance) ? .at(Timestamp(microsecondsSince1970: past)) : .after(.seconds(3_600)),
        command: names.randomElement(using: &chance)!, data: Array("{}".utf8), metadata: Array("{}".utf8))
    }
    let command = AppendBatch.Command(
      key: IdempotencyKey(scope: "tests", key: UUID().uuidString), fingerprint: UUID(), eventCount: 0,
      response: ResponseTemplate(Array("{}".utf8), offset: nil), deadlines: deadlines,
      firing: Bool.random(using: &chance) ? firing : nil)
    return AppendBatch(expectedVersions: [:], events: [], commands: [command])
  }

  @Test(
    "The same attempts at calls begin and end", .freshDatabase(eventStoreSchema),
    arguments: 1...4 as ClosedRange<UInt64>)
  func attempts(seed: UInt64) async throws {
    var chance = SplitMix(state: seed)
    let database = Database("write store", seed: seed)
    var limits = EffectLimits()
    limits.timeLimit = .seconds(3_600)
    let real = PostgresAttempts(of: "telling", limits, FreshDatabase.current.pool())
    let simulated = SimulatedAttempts(link: Link(direct: database), database: database, limits: limits)
    let events = (1...6).map { number in
      let stream = StreamID(rawValue: "thing-\(number)")
      return RecordedEvent(
        position: Position(Int64(number)), stream: stream, version: Version(1), hash: stream.hash, id: UUID(),
        type: "Happened", schemaVersion: 1, data: Array("{}".utf8), metadata: Array("{}".utf8), recordedAt: .now)
    }
    var kinds: Set<Substring> = []
    for step in 0..<120 {
      let event = events.randomElement(using: &chance)!
      let key = "telling/\(event.id)"
      if Int.random(in: 0..<2, using: &chance) == 0 {
        let beginning = [EffectAttempts.Beginning(key: key, event: event)]
        let verdict = Self.text(try await real.begin(beginning)[0])
        #expect(Self.text(try await simulated.begin(beginning)[0]) == verdict, "step \(step) of seed \(seed)")
        kinds.insert(verdict.prefix { $0 != " " })
      } else {
        let number = Int.random(in: 1...max(1, database.contents.attempts.all[key]?.count ?? 1), using: &chance)
        let outcome = EffectAttempts.Outcome.allCases.randomElement(using: &chance)!
        // Few calls succeed, so that many attempts follow.
        guard outcome != .succeeded || Int.random(in: 0..<4, using: &chance) == 0 else { continue }
        let end = EffectAttempts.End(
          outcome: outcome, error: outcome == .succeeded ? nil : "no", delay: outcome == .failed ? .seconds(1_000) : nil
        )
        let finished = [
          EffectAttempts.Finished(key: key, number: number, end: end, isNoted: Bool.random(using: &chance))
        ]
        try await real.finish(finished)
        try await simulated.finish(finished)
      }
    }
    #expect(kinds.isSuperset(of: ["perform", "failed", "under"]), "\(kinds)")
  }

  private static func text(_ verdict: EffectAttempts.Verdict) -> String {
    switch verdict {
    case .perform(let begun): "perform \(begun.number) of series \(begun.series), waiting \(begun.wait)"
    case .hasSucceeded: "succeeded"
    case .isUnderWay(let number): "under way \(number)"
    case .hasFailed(let error, let delay): "failed \(error), \(delay == nil ? "for a person" : "for now")"
    }
  }
}
