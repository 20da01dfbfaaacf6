import EventSourcing
import Foundation
import Testing

@testable import Projections

@Suite("How far a projection has come")
struct ServingProgressTests {
  private let incarnation = UUID()
  private let two = Partitioning(count: 2)!

  private func progress(
    _ positions: [Int64], head: [Int64]? = nil, parked: [UInt64: Int64] = [:], before: ServingProgress? = nil
  ) -> ServingProgress {
    // 64 buckets, the first half of which is the first partition.
    let heads = head.map { head in
      [StoreHeads.Heads(at: .now, buckets: (0..<64).map { head[$0 / 32] }, last: head.max()!)]
    }
    return ServingProgress(
      generation: 1, partitioning: two, incarnation: incarnation, positions: positions, parked: parked,
      heads: heads ?? [], before: before)
  }

  private let all = Reads("orders")

  @Test("a partition that is at its own last event has come as far as the store")
  func complete() {
    let known = progress([7, 10], head: [7, 10])
    #expect(known.freshness(of: all).position.rawValue == 10 && known.freshness(of: all).asOf != nil)
    #expect(progress([7, 10]).freshness(of: all) == Freshness(position: Position(7), asOf: nil))
    #expect(progress([6, 10], head: [7, 10]).freshness(of: all) == Freshness(position: Position(6), asOf: nil))
  }

  @Test("what was complete is so still, unless the rows went back")
  func carried() {
    let known = progress([7, 10], head: [7, 10])
    let stalled = progress([7, 10], head: [30, 40], before: known)
    #expect(stalled.freshness(of: all).position.rawValue == 10)
    #expect(stalled.freshness(of: all).asOf == known.freshness(of: all).asOf)
    let back = progress([5, 10], before: known)
    #expect(back.freshness(of: all) == Freshness(position: Position(5), asOf: nil))
    #expect(!known.isOfAnother && progress([-1, 10]).isOfAnother)
  }

  @Test("a stream that waits holds back what is said of the answers that it may be in, and nothing else")
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
    // It is known no better later on, and not at all by who comes later.
    let later = progress([30, 31], head: [30, 31], parked: [stream.wideHash: 12], before: waiting)
    #expect(later.freshness(of: all) == waiting.freshness(of: all))
    #expect(progress([30, 31], head: [30, 31], parked: [stream.wideHash: 12]).freshness(of: all).asOf == nil)
  }
}
