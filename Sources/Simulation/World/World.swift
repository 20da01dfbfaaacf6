internal import EventSourcing
internal import FoundationEssentials
internal import Machine
internal import PostgresEventStore
internal import Projections

/// A whole system on simulated machines: two databases, a broker, several processes of every kind, and clients.
///
/// It is unchecked, since only the thread of the scheduler uses it.
final class World: @unchecked Sendable {
  let plan: Plan
  let network = Network()
  let writeStore: Database
  let readStore: Database
  let broker: Broker
  let trace: Trace
  let record = Record()
  private(set) lazy var outside = Outside(self)
  private let client: Host
  var processes: [Process] = []
  /// Commands whose events the read model `balances` and reactions refuse.
  var poisoned: Set<String> = []
  /// What processes that start from now on run.
  var build = Build()
  /// Since when an operator has seen that the write store is on another server.
  var foreignSince: Duration?
  /// When a read model that served was last seen with rows of a lost history.
  private var lostRowsAt: Duration?
  private var hostsMade = 0
  private var running: [Task<Void, Never>] = []
  private var followers: [ChangeFollower] = []
  /// Of each account: its events, and the state after each.
  private var folds: [String: [(id: UUID, state: Account)]] = [:]
  private(set) var areClientsDone = false
  /// When it had become quiet, or time was up.
  private(set) var ended = Duration.zero

  /// What a deployment changes.
  struct Build {
    var balancesVersion = 1
    var statementVersion = 1
    var deliverVersion = 1
    var partitioning = Partitioning.standard

    /// nil for a reaction that has one version.
    func version(of model: String) -> Int? {
      switch model {
      case "balances": balancesVersion
      case "statement": statementVersion
      case "reaction/deliver": deliverVersion
      default: nil
      }
    }
  }

  init(_ plan: Plan, printing isPrinting: Bool) {
    self.plan = plan
    trace = Trace(isPrinting: isPrinting)
    writeStore = Database("write store", seed: plan.seed)
    readStore = Database("read store", seed: plan.seed)
    broker = Broker(seed: plan.seed)
    client = Host("clients", seed: plan.seed)
  }

  var time: Duration { Scheduler.shared.time }
  var accounts: [String] { (0..<plan.accounts).map { "a\($0)" } }
  /// Returns personal data, which tells whose it is.
  func owner(of account: String, _ name: String) -> String { "the owner of \(account), \(name)" }

  func newHost(_ name: String) -> Host {
    hostsMade += 1
    return Host("\(name)#\(hostsMade)", seed: plan.seed)
  }

  /// - Parameter witness: says whether the server is the right one; nil if any is.
  func link(_ host: Host, _ server: Server, _ witness: ServerWitness? = nil) -> Link {
    Link(host, server, network, witness, seed: plan.seed)
  }

  func processes(_ role: Role) -> [Process] { processes.filter { $0.role == role && $0.isRunning } }

  /// Runs the world to its end.
  /// - Returns: what is wrong; empty if nothing is.
  func run() -> [String] {
    Scheduler.shared.begin(seed: plan.seed)
    for role in Role.allCases {
      for number in 0..<plan.replicas(of: role) { processes.append(Process("\(role)-\(number)", role, self)) }
    }
    for process in processes { process.start() }
    Scheduler.shared.call(at: .seconds(20)) { [self] in operate() }
    for fault in plan.faults { Scheduler.shared.call(at: fault.at) { [self] in begin(fault) } }
    Machine.$simulated.withValue(client) {
      running.append(
        Task {
          await Clients(self).run(until: plan.duration)
          areClientsDone = true
        })
      for number in 0..<plan.followers { followers.append(ChangeFollower(number, self)) }
      for follower in followers { running.append(Task { await follower.run() }) }
    }
    // Whatever happened, everything goes on within this time after the last fault.
    let bound = plan.duration + plan.recovery
    var isQuiet = false
    var nextLook = plan.duration
    _ = Scheduler.shared.run { [self] in
      guard time >= nextLook else { return false }
      nextLook = time + .seconds(1)
      isQuiet = areClientsDone && Oracle(self).isQuiet
      if Scheduler.shared.steps > plan.mostSteps { record.violate("\(plan.mostSteps) steps, and not at the end") }
      return isQuiet || time > bound || !record.violations.isEmpty
    }
    if isQuiet { lookOnceMore() }
    ended = time
    trace.note("ends\(isQuiet ? "" : ", but is not quiet")", at: time)
    if record.violations.isEmpty {
      if !isQuiet {
        record.violate("still busy \(plan.recovery) after the last fault: \(Oracle(self).unfinished)")
        for generation in Oracle(self).generations { record.violate(generation) }
      }
      record.violations += Oracle(self).violations
    }
    end()
    return record.violations
  }

  /// What is quiet may have stopped: every process must still do its work, and every follower get to the end.
  private func lookOnceMore() {
    let isDone = Flag()
    Machine.$simulated.withValue(client) {
      running.append(
        Task {
          await Clients(self).lookOnceMore()
          isDone.isSet = true
        })
    }
    let bound = time + plan.recovery
    _ = Scheduler.shared.run { [self] in
      let head = writeStore.contents.events.head
      return time > bound
        || isDone.isSet && followers.allSatisfy { $0.place?.position == head } && Oracle(self).isQuiet
    }
    let head = writeStore.contents.events.head
    for (number, follower) in followers.enumerated() where follower.place?.position != head {
      record.violate("follower \(number) is at \(follower.place?.position ?? .start), and the head at \(head)")
    }
    if !isDone.isSet { record.violate("the last commands and queries have no end") }
  }

  /// It is unchecked, since only the thread of the scheduler uses it.
  private final class Flag: @unchecked Sendable { var isSet = false }

  /// The number of the generation of a read model that serves; nil while it has rows of a lost history.
  func current(_ model: String) -> Int? {
    let tables = readStore.contents.projections
    guard let serving = tables.serving(model), let checkpoints = tables.checkpoints[serving] else { return nil }
    let isCurrent = checkpoints.allSatisfy { $0.historyID == writeStore.contents.events.historyID }
    if !isCurrent { lostRowsAt = time }
    return isCurrent ? serving.number : nil
  }

  /// Whether no process answers any more from rows of a lost history: a look at the read store may take seconds.
  func isSettled(at time: Duration) -> Bool { lostRowsAt.map { time - $0 >= .seconds(10) } ?? true }

  /// Returns the state that an account's events give; nil if it has fewer events.
  func state(of account: String, at version: Int) -> Account? {
    var fold = folds.removeValue(forKey: account) ?? []
    defer { folds[account] = fold }
    let table = writeStore.contents.events
    func event(_ version: Int) -> RecordedEvent? {
      table.events(in: Account.stream(account), after: Version(Int64(version - 1)), limit: 1).first
    }
    // After a restore, the last ones may be gone.
    while let last = fold.last, event(fold.count)?.id != last.id { fold.removeLast() }
    while fold.count < version, let next = event(fold.count + 1) {
      var state = fold.last?.state ?? Account()
      if let event = try? AccountEvent(next) { state.apply(event) }
      fold.append((next.id, state))
    }
    return version > 0 && version <= fold.count ? fold[version - 1].state : nil
  }

  /// Ends all tasks, so that nothing is left for the next world.
  private func end() {
    record.isOver = true
    for process in processes { process.kill() }
    for task in running { task.cancel() }
    let limit = time + .seconds(600)
    _ = Scheduler.shared.run { [self] in time > limit }
  }
}

/// What happens, in order. Two runs of a seed have the same trace.
final class Trace {
  private let isPrinting: Bool
  private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  private(set) var lines = 0

  init(isPrinting: Bool) { self.isPrinting = isPrinting }

  func note(_ text: @autoclosure () -> String, at time: Duration) {
    let line = "\(time / .seconds(1)) \(text())"
    for byte in line.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    lines += 1
    if isPrinting { print(line) }
  }
}
