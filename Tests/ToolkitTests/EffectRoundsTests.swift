import Synchronization
import TestSupport
import Testing

@testable import Reactions

@Suite("What shares a round")
struct EffectRoundsTests {
  /// The sizes of the rounds so far.
  private final class Sizes: Sendable {
    private let sizes = Mutex<[Int]>([])
    var all: [Int] { sizes.withLock { $0 } }

    /// - Returns: the number of the round.
    func add(_ size: Int) -> Int {
      sizes.withLock { sizes in
        sizes.append(size)
        return sizes.count
      }
    }
  }

  @Test("What arrives during a round shares the next one, and so do those that an error concerns")
  func shared() async throws {
    let (gate, sizes) = (Gate(), Sizes())
    let rounds = EffectRounds<Int, Int> { items in
      let number = sizes.add(items.count)
      if number == 1 { await gate.wait() }
      if number == 2 { throw Unreachable() }
      return items.map { $0 * 10 }
    }
    async let first = rounds.join(1)
    try await eventually("the first round runs") { sizes.all == [1] }
    let others = (2...5).map { item in Task { try await rounds.join(item) } }
    try await eventually("the others wait") { rounds.waiting == 4 }
    // It is in the round nevertheless.
    others[0].cancel()
    gate.open()
    #expect(try await first == 10)
    for other in others { await #expect(throws: Unreachable.self) { try await other.value } }
    #expect(try await rounds.join(6) == 60)
    #expect(sizes.all == [1, 4, 1])
  }

  @Test("An item that is refused fails alone")
  func refused() async throws {
    let (gate, sizes) = (Gate(), Sizes())
    let rounds = EffectRounds<Int, Int> { items in
      if sizes.add(items.count) == 1 { await gate.wait() }
      if items.contains(3) { throw PermanentFailure("3") }
      return items
    }
    async let first = rounds.join(1)
    try await eventually("the first round runs") { sizes.all == [1] }
    let others = (2...4).map { item in Task { try await rounds.join(item) } }
    try await eventually("the others wait") { rounds.waiting == 3 }
    gate.open()
    #expect(try await first == 1)
    #expect(try await others[0].value == 2)
    await #expect(throws: PermanentFailure.self) { try await others[1].value }
    #expect(try await others[2].value == 4)
    #expect(sizes.all == [1, 3, 1, 1, 1])
  }

  @Test("Each of many callers gets its own answer")
  func many() async throws {
    let rounds = EffectRounds<Int, Int> { items in items.map { -$0 } }
    let answers = try await withThrowingTaskGroup(of: (Int, Int).self) { group in
      for item in 0..<1_000 { group.addTask { (item, try await rounds.join(item)) } }
      return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
    }
    #expect(answers.count == 1_000 && answers.allSatisfy { $0.key == -$0.value })
  }
}
