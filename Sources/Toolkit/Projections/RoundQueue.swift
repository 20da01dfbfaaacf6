/// Decides which entries are written together, and when. It is pure; its owner guards it with one lock.
///
/// While entries wait, either a round runs or a pause is under way. The end of each takes all waiting entries.
struct RoundQueue<Lane: Hashable & Sendable, Entry: Sendable>: Sendable {
  enum Pause: Sendable, Hashable {
    /// For entries that are not urgent: waits for more entries.
    case leisure
    /// Waits for the lanes that still plan.
    case patience
  }

  /// The caller's next step.
  enum Step {
    case nothing
    /// Write these entries, then call `roundIsOver`.
    case run([Entry])
    /// Wait for this pause, then call `pauseIsOver`.
    case pause(Pause)
  }

  private(set) var waiting: [Entry] = []
  /// Lanes that received messages, and have neither added an entry nor settled since.
  private(set) var planning: Set<Lane> = []
  /// Whether one of the waiting entries is urgent.
  private var isUrgent = false
  private(set) var isRunning = false
  private(set) var isPausing = false

  /// Records that these lanes have just received messages: a round waits for their entries.
  mutating func expect(_ lanes: [Lane]) { planning.formUnion(lanes) }

  /// Records that the lane has nothing to write for now.
  mutating func settle(_ lane: Lane) -> Step { planning.remove(lane) == nil ? .nothing : next() }

  mutating func add(_ entry: Entry, of lane: Lane, isUrgent: Bool) -> Step {
    planning.remove(lane)
    waiting.append(entry)
    self.isUrgent = self.isUrgent || isUrgent
    return self.isUrgent ? next() : pause(planning.isEmpty ? .leisure : .patience)
  }

  mutating func pauseIsOver() -> Step {
    isPausing = false
    // A lane that still plans has used up its time. No round waits for it again before the next `expect`.
    planning = []
    return next()
  }

  mutating func roundIsOver() -> Step {
    isRunning = false
    // Entries that arrived meanwhile have waited for this round to end: they wait no longer.
    return next(isDue: true)
  }

  /// - Parameter isDue: whether the round starts without waiting for lanes that plan.
  private mutating func next(isDue: Bool = false) -> Step {
    guard !isRunning, !waiting.isEmpty else { return .nothing }
    guard isDue || planning.isEmpty else { return pause(.patience) }
    isRunning = true
    defer { (waiting, isUrgent) = ([], false) }
    return .run(waiting)
  }

  /// Starts a pause, unless a round or a pause is under way: its end takes all waiting entries.
  private mutating func pause(_ pause: Pause) -> Step {
    guard !isRunning, !isPausing else { return .nothing }
    isPausing = true
    return .pause(pause)
  }
}
