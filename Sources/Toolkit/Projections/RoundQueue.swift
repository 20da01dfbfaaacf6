/// Which entries go together, and when: pure, of one lock. Whatever waits is taken: there is always a round under way, or a pause
/// whose end is announced.
struct RoundQueue<Lane: Hashable & Sendable, Entry: Sendable>: Sendable {
  enum Pause: Sendable, Hashable {
    /// For what is not urgent: for company.
    case leisure
    /// For those who plan.
    case patience
  }

  /// What is to be done next.
  enum Step {
    case nothing
    /// Writes these, and calls `roundIsOver` then.
    case run([Entry])
    /// Waits so long, and calls `pauseIsOver` then.
    case pause(Pause)
  }

  private(set) var waiting: [Entry] = []
  /// Lanes that were given deliveries and have not said what they make of them.
  private(set) var planning: Set<Lane> = []
  /// Somebody waits for one of those that wait.
  private var isUrgent = false
  private(set) var isRunning = false
  private(set) var isPausing = false

  /// These lanes have just been given deliveries: a round waits for what they make of them.
  mutating func expect(_ lanes: [Lane]) { planning.formUnion(lanes) }

  /// The lane has nothing to write with others, for now.
  mutating func settle(_ lane: Lane) -> Step { planning.remove(lane) == nil ? .nothing : next() }

  mutating func add(_ entry: Entry, of lane: Lane, isUrgent: Bool) -> Step {
    planning.remove(lane)
    waiting.append(entry)
    self.isUrgent = self.isUrgent || isUrgent
    return self.isUrgent ? next() : pause(planning.isEmpty ? .leisure : .patience)
  }

  mutating func pauseIsOver() -> Step {
    isPausing = false
    // Who plans still has had the time for it, and is not waited for again until it is expected anew.
    planning = []
    return next()
  }

  mutating func roundIsOver() -> Step {
    isRunning = false
    // What came meanwhile has waited for this round to end.
    return next(isDue: true)
  }

  /// - Parameter isDue: whoever plans is not waited for.
  private mutating func next(isDue: Bool = false) -> Step {
    guard !isRunning, !waiting.isEmpty else { return .nothing }
    guard isDue || planning.isEmpty else { return pause(.patience) }
    isRunning = true
    defer { (waiting, isUrgent) = ([], false) }
    return .run(waiting)
  }

  /// Where nothing is under way at whose end all that waits is looked at.
  private mutating func pause(_ pause: Pause) -> Step {
    guard !isRunning, !isPausing else { return .nothing }
    isPausing = true
    return .pause(pause)
  }
}
