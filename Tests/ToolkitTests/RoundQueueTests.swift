import TestSupport
import Testing

@testable import Projections

@Suite("Which parts go together in a round")
struct RoundQueueTests {
  private typealias Queue = RoundQueue<Int, Int>

  /// Drives a queue as `SharedRounds` does, in an order of its own: what is to be called is called some time.
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

    /// Nothing new comes.
    mutating func finish() {
      while queue.isRunning || queue.isPausing {
        follow(queue.isRunning ? queue.roundIsOver() : queue.pauseIsOver())
      }
    }

    var added: [Int] { Array(0..<next) }
  }

  @Test("whatever happens in whatever order, what waits is looked at again, and is written once", arguments: 0..<500)
  func nothingIsForgotten(seed: UInt64) {
    var driver = Driver(seed: seed)
    for _ in 0..<200 { driver.anything() }
    driver.finish()
    #expect(!driver.isStuck && driver.written == driver.added)
  }

  @Test("who plans is waited for, and the last of them lets those go that are urgent, though it is not")
  func last() {
    var queue = Queue()
    queue.expect([1, 2])
    guard case .pause(.patience) = queue.add(0, of: 0, isUrgent: true), case .nothing = queue.settle(1),
      case .run([0, 2]) = queue.add(2, of: 2, isUrgent: false)
    else { return #expect(Bool(false), "they do not go together") }
    // What comes in a round goes when it ends, whoever plans.
    queue.expect([1])
    guard case .nothing = queue.add(3, of: 3, isUrgent: true), case .run([3]) = queue.roundIsOver(),
      case .nothing = queue.roundIsOver()
    else { return #expect(Bool(false), "it does not follow") }
    // The pause of before goes on, and begins nothing by itself.
    guard queue.isPausing, case .nothing = queue.pauseIsOver() else { return #expect(Bool(false), "it begins") }
    guard case .pause(.leisure) = queue.add(4, of: 0, isUrgent: false), case .nothing = queue.settle(1),
      case .run([4]) = queue.pauseIsOver()
    else { return #expect(Bool(false), "what is not urgent is forgotten") }
  }
}
