import EventSourcing
import Foundation
import Postgres
import Synchronization
import TestSupport
import Testing

@testable import Projections

@Suite("Progress of a serving projection")
struct ServingProgressTests {
  private let historyID = UUID()
  private let two = Partitioning(count: 2)!

  private func progress(
    _ positions: [Int64], head: [Int64]? = nil, parked: [UInt64: Int64] = [:], before: ServingProgress? = nil
  ) -> ServingProgress {
    // 64 buckets; the first half is the first partition.
    let heads = head.map { head in
      [StoreHeads.Heads(at: .now, buckets: (0..<64).map { head[$0 / 32] }, last: head.max()!)]
    }
    return ServingProgress(
      generation: 1, partitioning: two, historyID: historyID, positions: positions, parked: parked,
      heads: heads ?? [], before: before)
  }

  private let all = Reads("orders")

  @Test("A partition that has applied its own last event counts as up to date")
  func complete() {
    let known = progress([7, 10], head: [7, 10])
    #expect(known.freshness(of: all).position.rawValue == 10 && known.freshness(of: all).asOf != nil)
    #expect(progress([7, 10]).freshness(of: all) == Freshness(position: Position(7), asOf: nil))
    #expect(progress([6, 10], head: [7, 10]).freshness(of: all) == Freshness(position: Position(6), asOf: nil))
  }

  @Test("A known complete position stays known, unless the rows go back")
  func carried() {
    let known = progress([7, 10], head: [7, 10])
    let stalled = progress([7, 10], head: [30, 40], before: known)
    #expect(stalled.freshness(of: all).position.rawValue == 10)
    #expect(stalled.freshness(of: all).asOf == known.freshness(of: all).asOf)
    let back = progress([5, 10], before: known)
    #expect(back.freshness(of: all) == Freshness(position: Position(5), asOf: nil))
    #expect(!known.isOfAnother && progress([-1, 10]).isOfAnother)
  }

  @Test("A parked stream limits the freshness only of answers that may include it")
  func parked() throws {
    let stream = try #require((0..<100).map { StreamID(rawValue: "order-\($0)") }.first { $0.wideHash >> 63 == 0 })
    let other = try #require((0..<100).map { StreamID(rawValue: "order-\($0)") }.first { $0.wideHash >> 63 == 1 })
    let known = progress([7, 10], head: [7, 10])
    let waiting = progress([20, 21], head: [20, 21], parked: [stream.wideHash: 12], before: known)
    #expect(waiting.freshness(of: Reads("orders", stream)).position.rawValue == 11)
    #expect(waiting.freshness(of: Reads("orders", stream)).asOf == known.freshness(of: Reads("orders", stream)).asOf)
    #expect(waiting.freshness(of: all).position.rawValue == 11)
    #expect(waiting.freshness(of: Reads("orders", other)).position.rawValue == 21)
    #expect(waiting.progress(of: all).position.rawValue == 21)
    // The freshness stays the same later. A reader that starts later knows no time at all.
    let later = progress([30, 31], head: [30, 31], parked: [stream.wideHash: 12], before: waiting)
    #expect(later.freshness(of: all) == waiting.freshness(of: all))
    #expect(progress([30, 31], head: [30, 31], parked: [stream.wideHash: 12]).freshness(of: all).asOf == nil)
    // A retry reached an event that has waited too, for an unknown time.
    let further = progress([30, 31], head: [30, 31], parked: [stream.wideHash: 25], before: waiting)
    #expect(further.freshness(of: all) == Freshness(position: Position(24), asOf: known.freshness(of: all).asOf))
  }

  @Test(
    "A mark changes with any checkpoint, parked stream or generation that is read")
  func marks() {
    let pool = PostgresPool(PostgresConfiguration(url: ""), logger: .quiet)
    let heads = StoreHeads(pool, activity: Activity(), logger: .quiet)
    let reader = ReadProgress(pool, host: "local", heads: heads, activity: Activity(), logger: .quiet)
    let stream = StreamID(rawValue: "customer-ada")
    let own = two.partition(ofHash: UInt16(stream.wideHash >> 48)).index
    func mark(_ customers: [Int64], _ orders: [Int64], parked: [UInt64: Int64] = [:]) -> ReadProgress.Mark? {
      reader.state.withLock {
        $0.serving = ["customers": progress(customers), "orders": progress(orders, parked: parked)]
      }
      return reader.mark(of: [Reads("customers", stream), Reads("orders")])
    }
    #expect(reader.mark(of: [Reads("customers", stream)]) == nil)
    let first = mark([7, 7], [3, 4])
    #expect(first != nil && mark([7, 7], [3, 4]) == first)
    // The other partition belongs to other customers.
    #expect(mark(own == 0 ? [7, 8] : [8, 7], [3, 4]) == first)
    #expect(mark(own == 0 ? [8, 7] : [7, 8], [3, 4]) != first)
    // Marks differ even if the sums of positions are equal.
    for orders: [Int64] in [[3, 5], [4, 4], [4, 3], [2, 5]] { #expect(mark([7, 7], orders) != first, "\(orders)") }
    let parked = mark([7, 7], [3, 4], parked: [1: 3])
    #expect(parked != first && mark([7, 7], [3, 4], parked: [1: 4]) != parked)
    #expect(reader.mark(of: [Reads("customers", stream), Reads("sales")]) == nil)
  }
}
