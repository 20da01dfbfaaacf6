import TestSupport
import Testing

@testable import Projections

@Suite("Which parts share a round")
struct RoundQueueTests {
  private typealias Queue = RoundQueue<Int, Int>

  /// Drives a queue as `SharedRounds` does, in random order. Every pause and round ends at some time.
  private struct Driver {
    var queue = Queue()
    private(set) var written: [Int] = []
    private(set) var isStuck = false
    private var next = 0
    private var random: SplitMix

    init(seed: UInt64) { random = SplitMix(state: seed) }

    private mutating func follow(_ step: Queue.Step) {
      if case .run(let entries) = step { written += entries }
      if !queue.waiting.isEmpty, !queue.isRunning, !queue.isPausing { isStuck = true }
    }

    mutating func anything() {
      let lane = Int.random(in: 0..<4, using: &random)
      switch Int.random(in: 0..<7, using: &random) {
      case 0: queue.expect([lane, (lane + 1) % 4])
      case 1: follow(queue.settle(lane))
      case 2, 3:
        follow(queue.add(next, of: lane, isUrgent: Bool.random(using: &random)))
        next += 1
      case 4, 5: if queue.isRunning { follow(queue.roundIsOver()) }
      default: if queue.isPausing { follow(queue.pauseIsOver()) }
      }
    }

    /// Ends all rounds and pauses, without new entries.
    mutating func finish() {
      while queue.isRunning || queue.isPausing {
        follow(queue.isRunning ? queue.roundIsOver() : queue.pauseIsOver())
      }
    }

    var added: [Int] { Array(0..<next) }
  }

  @Test("In any order of calls, every waiting entry is written exactly once", arguments: 0..<500)
  func nothingIsForgotten(seed: UInt64) {
    var driver = Driver(seed: seed)
    for _ in 0..<200 { driver.anything() }
    driver.finish()
    #expect(!driver.isStuck && driver.written == driver.added)
  }

  @Test("A round waits for planning lanes, and the last one starts it even with a non-urgent entry")
  func last() {
    var queue = Queue()
    queue.expect([1, 2])
    guard case .pause(.patience) = queue.add(0, of: 0, isUrgent: true), case .nothing = queue.settle(1),
      case .run([0, 2]) = queue.add(2, of: 2, isUrgent: false)
    else { return #expect(Bool(false), "they do not go together") }
    // An entry added during a round runs when that round ends, even if a lane is planning.
    queue.expect([1])
    guard case .nothing = queue.add(3, of: 3, isUrgent: true), case .run([3]) = queue.roundIsOver(),
      case .nothing = queue.roundIsOver()
    else { return #expect(Bool(false), "it does not follow") }
    // The earlier pause continues, and starts nothing by itself.
    guard queue.isPausing, case .nothing = queue.pauseIsOver() else { return #expect(Bool(false), "it begins") }
    guard case .pause(.leisure) = queue.add(4, of: 0, isUrgent: false), case .nothing = queue.settle(1),
      case .run([4]) = queue.pauseIsOver()
    else { return #expect(Bool(false), "what is not urgent is forgotten") }
  }
}
