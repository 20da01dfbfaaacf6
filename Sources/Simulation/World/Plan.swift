/// What goes wrong.
package enum FaultKind: String, CaseIterable, Sendable {
  case kill, stop, pause, isolate, stepClock, badNetwork
  case restartWriteStore, failOver, restore
  case restartReadStore, crashReadStore
  case restartBroker, wipeBroker, badBroker
  case poison, deploy, resize
}

/// A fault, and when it begins.
package struct Fault: Sendable {
  package let at: Duration
  package let kind: FaultKind
  /// How long it lasts.
  package let length: Duration
  /// Chooses the process, or a value.
  package let choice: Int
}

/// What a seed decides before its world begins.
package struct Plan: Sendable {
  package let seed: UInt64
  /// How long clients send, and faults begin.
  package let duration: Duration
  /// Within this time after that, everything must have gone on.
  package let recovery = Duration.seconds(240)
  /// Ten times what a world takes: tasks that are busy without end take more.
  let mostSteps: Int
  package let accounts: Int
  package let clients: Int
  package let followers: Int
  /// How long a client rests between two requests, at most.
  package let rest: Duration
  /// How often query processes look at the read store while there are queries.
  package let interval: Duration
  /// Whether processes read events from RabbitMQ, or from the write store alone.
  package let usesBroker: Bool
  package let faults: [Fault]
  private let replicas: [Role: Int]

  /// - Parameter kinds: what may go wrong.
  package init(seed: UInt64, minutes: Double, kinds: [FaultKind] = FaultKind.allCases) {
    self.seed = seed
    duration = .seconds(minutes * 60)
    mostSteps = 2_000_000 + Int(minutes * 1_000_000)
    var chance = SeededChance(seed: seed, for: "plan")
    accounts = Int.random(in: 2...12, using: &chance)
    clients = Int.random(in: 2...6, using: &chance)
    followers = Int.random(in: 1...2, using: &chance)
    usesBroker = chance.happens(0.7)
    var replicas: [Role: Int] = [:]
    for role in Role.allCases { replicas[role] = Int.random(in: 1...(role == .projector ? 3 : 2), using: &chance) }
    if !usesBroker { replicas[.relay] = 0 }
    self.replicas = replicas
    let pace = chance.duration(.seconds(4)...(.seconds(30)))
    var faults: [Fault] = []
    var time = Duration.seconds(5)
    while !kinds.isEmpty {
      time += pace * Double.random(in: 0.1...2, using: &chance)
      let length = chance.duration(.milliseconds(200)...(.seconds(15)))
      let kind = kinds[Int.random(in: 0..<kinds.count, using: &chance)]
      let choice = Int.random(in: 0..<1_000_000, using: &chance)
      guard time + length < duration else { break }
      faults.append(Fault(at: time, kind: kind, length: length, choice: choice))
    }
    self.faults = faults
    rest = .milliseconds([400, 800, 2_000, 5_000].randomElement(using: &chance)!)
    interval = .milliseconds(chance.happens(0.3) ? 25 : 100)
  }

  func replicas(of role: Role) -> Int { replicas[role] ?? 0 }
}

/// What a process does.
package enum Role: String, CaseIterable, Sendable {
  case command, relay, projector, reactor, query
}
