import CommandProcessing
import EventSourcing
import Foundation
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@Suite("Command processor, against an oracle", .tags(.integration), .needsServers)
struct OracleTests {
  /// One command of a client and its outcome.
  private struct Seen: Sendable {
    let ids: [String]
    let amount: Int64
    let limit: Int64
    let key: String
    let response: String?
    /// The store's heads before the command was sent and after its response.
    let heads: ClosedRange<Int64>

    var streams: [StreamID] { ids.map { Tally.stream($0) } }
  }

  @Test(
    "The responses to random commands through several replicas match the stored events",
    .freshDatabase(eventStoreSchema), arguments: StoreKind.allCases, [UInt64(1), 2, 3])
  func oracle(kind: StoreKind, seed: UInt64) async throws {
    let store = AnyStore(kind.make())
    var limits = CommandProcessor<AnyStore>.Limits()
    limits.attempts = 1_000
    limits.batchEvents = 7
    limits.cacheBytes = 2_000
    let seen = try await withProcessor(store, limits) { first in
      try await withProcessor(store, limits) { second in
        try await withThrowingTaskGroup(of: [Seen].self) { group in
          for client in 0..<8 {
            group.addTask {
              var random = SplitMix(state: seed &* 1_000 &+ UInt64(client))
              var seen: [Seen] = []
              for n in 0..<40 {
                let ids = Array(
                  Set(
                    (0..<Int.random(in: 1...3, using: &random)).map { _ in "t\(Int.random(in: 0..<6, using: &random))" }
                  ).sorted())
                let amount = Int64.random(in: -3...3, using: &random)
                let limit: Int64 = Bool.random(using: &random) ? .max : Int64.random(in: 0...10, using: &random)
                // Some keys are sent twice, with the same request.
                let isRepeat = n > 0 && Int.random(in: 0..<4, using: &random) == 0
                let previous = isRepeat ? seen.randomElement(using: &random) : nil
                let count =
                  previous.map { Count(ids: $0.ids, amount: $0.amount, limit: $0.limit) }
                  ?? Count(ids: ids, amount: amount, limit: limit)
                let key = previous?.key ?? "\(client)-\(n)"
                let processor = Bool.random(using: &random) ? first : second
                let before = try await store.head().rawValue
                var response: String?
                do { response = try await processor.response(count, .fresh(key)) } catch is Rejection {}
                let after = try await store.head().rawValue
                #expect(response != nil || previous?.response == nil, "what was answered is rejected when repeated")
                seen.append(
                  Seen(
                    ids: count.ids, amount: count.amount, limit: count.limit, key: key, response: response,
                    heads: before...after))
              }
              return seen
            }
          }
          return try await group.reduce(into: []) { $0 += $1 }
        }
      }
    }
    // The checks below need both accepted and rejected commands.
    #expect(seen.count == 8 * 40 && Set(seen.map { $0.response == nil }).count == 2)
    let events = try await store.events(after: .start, limit: 100_000)
    #expect(events.map(\.position.rawValue) == Array(1...Int64(events.count)))
    // Every accepted key is stored once, with one event for each of its streams, and all its responses are equal.
    var responses: [String: Set<String>] = [:]
    for seen in seen { if let response = seen.response { responses[seen.key, default: []].insert(response) } }
    #expect(responses.values.allSatisfy { $0.count == 1 })
    let byKey = Dictionary(grouping: events) { event in
      (try? JSONSerialization.jsonObject(with: Data(event.metadata)) as? [String: String])?["causationId"] ?? ""
    }
    for seen in seen {
      let expected = responses[seen.key] != nil && seen.amount != 0 ? seen.ids.sorted() : []
      #expect((byKey[seen.key] ?? []).map { String($0.stream.id) }.sorted() == expected)
    }
    // No limit was exceeded: each sum is within the limit of the command that changed it.
    let limitOf = Dictionary(seen.map { ($0.key, $0.limit) }, uniquingKeysWith: { first, _ in first })
    var sums: [StreamID: Int64] = [:]
    var history = [sums]
    var versions: [StreamID: Int64] = [:]
    for event in events {
      let key = (try JSONSerialization.jsonObject(with: Data(event.metadata)) as? [String: String])?["causationId"]
      sums[event.stream, default: 0] += try Counted(event).amount
      versions[event.stream, default: 0] += 1
      #expect(event.version.rawValue == versions[event.stream])
      #expect(sums[event.stream]! <= limitOf[key ?? ""] ?? .min)
      history.append(sums)
    }
    // Every rejection was correct at some moment while its command was in progress.
    for seen in seen where seen.response == nil {
      let wasDue = seen.heads.contains { head in
        seen.streams.contains { history[Int(head)][$0, default: 0] + seen.amount > seen.limit }
      }
      #expect(wasDue, "\(seen.key) was rejected for nothing")
    }
  }
}
