internal import Logging
internal import Machine
internal import Metrics
internal import Synchronization

extension Generation {
  /// The part of a generation that a runner depends on. The state may change while the runner runs.
  struct Identity: Hashable, Sendable {
    let projection: String
    let number: Int
  }

  var identity: Identity { Identity(projection: projection, number: number) }
}

/// The lanes that run now.
final class WorkerGroup: Sendable {
  private let lanes = Mutex<[Generation.Identity: (service: String, runners: [ProjectionRunner])]>([:])
  private let budget: MemoryBudget

  init(_ budget: MemoryBudget) { self.budget = budget }

  func add(_ generation: Generation.Identity, _ service: String, _ runners: [ProjectionRunner]) {
    lanes.withLock { $0[generation] = (service, runners) }
    budget.change(lanes: runners.count)
  }

  func remove(_ generation: Generation.Identity) {
    let removed = lanes.withLock { $0.removeValue(forKey: generation) }
    budget.change(lanes: -(removed?.runners.count ?? 0))
  }

  var mailboxes: [Mailbox] { lanes.withLock { $0.values.flatMap { $0.runners.map(\.mailbox) } } }
  var wanted: Set<Int> { mailboxes.reduce(into: []) { $0.formUnion($1.wanted) } }

  /// The services that this process takes a share of.
  var services: [String] {
    lanes.withLock { lanes in
      Set(lanes.values.filter { !$0.runners.contains(where: \.isSuspended) }.map(\.service)).sorted()
    }
  }
}

/// Limits how often a lasting condition is logged.
struct Reminders {
  private var next: [String: ContinuousClock.Instant] = [:]
  private var since: [String: ContinuousClock.Instant] = [:]

  /// Returns true once a minute for each key.
  mutating func isDue(_ key: String) -> Bool {
    if let next = next[key], Machine.now < next { return false }
    next[key] = Machine.now + .seconds(60)
    return true
  }

  /// Returns true once a condition has lasted longer than `patience`.
  mutating func lasts(_ key: String, _ isSo: Bool, longerThan patience: Duration) -> Bool {
    guard isSo else {
      since[key] = nil
      return false
    }
    let start = since[key] ?? Machine.now
    since[key] = start
    return Machine.now - start > patience
  }
}

/// Reports assignments that have no owner for longer than a takeover takes.
struct UnownedAlarm {
  let patience: Duration
  let logger: Logger
  private var since: [String: ContinuousClock.Instant] = [:]

  init(patience: Duration, logger: Logger) {
    self.patience = patience
    self.logger = logger
  }

  mutating func look(at unowned: [String: Int]) {
    for projection in Set(since.keys).union(unowned.keys) {
      let count = unowned[projection] ?? 0
      Gauge(label: "projection_assignments_unowned", dimensions: [("projection", projection)]).record(count)
      guard count > 0 else {
        since[projection] = nil
        continue
      }
      let start = since[projection] ?? Machine.now
      since[projection] = start
      if Machine.now - start >= patience {
        logger.critical(
          "assignments have no owner: no projector runs them",
          metadata: ["projection": "\(projection)", "assignments": "\(count)"])
      }
    }
  }
}
