import Testing

@testable import QueryKit

@Suite("The number of replicas that a lag asks for")
struct ScalerTests {
  private let begin = ContinuousClock.now

  private func load(_ current: Int, lag seconds: Double, limit: Int = 16) -> ServiceLoad {
    let lag = ServiceLoad.Lag(of: "orders", age: .seconds(seconds), positions: 10)
    return ServiceLoad(current: current, limit: limit, lag: seconds > 0 ? lag : nil)
  }

  /// Asks every 30 seconds from `second` on, and returns the last advice.
  private func advise(
    _ scaler: inout Scaler, _ load: ServiceLoad, from second: Int, to last: Int
  ) -> ScaleAdvice {
    var advice = scaler.advise(load, at: begin + .seconds(second))
    for second in stride(from: second + 30, through: last, by: 30) {
      advice = scaler.advise(load, at: begin + .seconds(second))
    }
    return advice
  }

  @Test("More lag asks for more, at most for twice as many as run, and never for more than there are partitions")
  func more() {
    let cases: [(Int, Double, Int)] = [
      (1, 10.0, 2), (2, 15, 3), (2, 600, 4), (4, 14, 6), (10, 10, 12), (12, 600, 16), (16, 600, 16),
    ]
    for (current, lag, wanted) in cases {
      var scaler = Scaler()
      let advice = scaler.advise(load(current, lag: lag), at: begin)
      #expect(advice.replicas == wanted && advice.current == current && advice.limit == 16, "\(current) at \(lag) s")
    }
    var scaler = Scaler()
    let advice = scaler.advise(load(16, lag: 61.27), at: begin)
    #expect(
      advice.reason
        == "orders is 61.3 s and 10 positions behind: more are needed, but only 16 can share the partitions")
  }

  @Test(
    "While replicas start that were asked for, the number does not grow again, and does not fall between the limits")
  func pending() {
    var scaler = Scaler()
    #expect(scaler.advise(load(2, lag: 60), at: begin).replicas == 4)
    #expect(scaler.advise(load(2, lag: 90), at: begin + .seconds(30)).replicas == 4)
    #expect(scaler.advise(load(3, lag: 9), at: begin + .seconds(60)).replicas == 4)
    #expect(scaler.advise(load(4, lag: 3), at: begin + .seconds(90)).replicas == 4)
    #expect(scaler.advise(load(4, lag: 0), at: begin + .seconds(120)).replicas == 4)
  }

  @Test("After five minutes without lag it asks for one less, and for the next one after five more")
  func less() {
    var scaler = Scaler()
    #expect(advise(&scaler, load(3, lag: 0.5), from: 0, to: 270).replicas == 3)
    #expect(advise(&scaler, load(3, lag: 0), from: 300, to: 300).replicas == 2)
    #expect(advise(&scaler, load(3, lag: 0), from: 330, to: 420).replicas == 2)
    #expect(advise(&scaler, load(2, lag: 0), from: 450, to: 570).replicas == 2)
    #expect(advise(&scaler, load(2, lag: 0), from: 600, to: 600).replicas == 1)
    #expect(advise(&scaler, load(1, lag: 0), from: 630, to: 1800).replicas == 1)
  }

  @Test("The number falls by more than a tenth, which the autoscaler of Kubernetes ignores")
  func manyLess() {
    for (current, wanted) in [(1, 1), (2, 1), (9, 8), (10, 8), (16, 14), (19, 17), (20, 17), (100, 89)] {
      var scaler = Scaler()
      let advice = advise(&scaler, load(current, lag: 0, limit: 100), from: 0, to: 300)
      #expect(advice.replicas == wanted, "\(current): \(advice.reason)")
      #expect(current == 1 || Double(current - wanted) / Double(current) > 0.1)
    }
    var scaler = Scaler()
    let advice = advise(&scaler, load(16, lag: 0), from: 0, to: 300)
    #expect(advice.reason == "the lag has been below 2 s for 300 s: 2 less are enough")
  }

  @Test("If nobody follows the advice, it does not fall further")
  func ignored() {
    var scaler = Scaler()
    #expect(advise(&scaler, load(3, lag: 0), from: 0, to: 3600).replicas == 2)
  }

  @Test("A lag in between begins the five minutes anew, and so does a pause in which nobody asks")
  func interrupted() {
    var scaler = Scaler()
    _ = advise(&scaler, load(3, lag: 0), from: 0, to: 270)
    #expect(advise(&scaler, load(3, lag: 4), from: 300, to: 300).replicas == 3)
    #expect(advise(&scaler, load(3, lag: 0), from: 330, to: 600).replicas == 3)
    #expect(advise(&scaler, load(3, lag: 0), from: 1000, to: 1270).replicas == 3)
    #expect(advise(&scaler, load(3, lag: 0), from: 1300, to: 1300).replicas == 2)
  }

  @Test("A lag that swings does not make the number swing")
  func swinging() {
    var scaler = Scaler()
    var numbers: Set<Int> = []
    for step in 0..<40 {
      let advice = scaler.advise(load(4, lag: step % 2 == 0 ? 9.9 : 0), at: begin + .seconds(30 * step))
      numbers.insert(advice.replicas)
    }
    #expect(numbers == [4])
  }

  @Test("Without a process it asks for at least one, and for as many as before")
  func none() {
    var scaler = Scaler()
    let advice = scaler.advise(load(0, lag: 0, limit: 0), at: begin)
    #expect(advice == ScaleAdvice(replicas: 1, current: 0, limit: 1, reason: "no process runs"))
    #expect(scaler.advise(load(3, lag: 60), at: begin + .seconds(10)).replicas == 6)
    #expect(scaler.advise(load(0, lag: 60), at: begin + .seconds(20)).replicas == 6)
  }
}
