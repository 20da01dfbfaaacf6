internal import FoundationEssentials
internal import Metrics
internal import Postgres
internal import Synchronization

/// What one lane writes in one transaction.
struct RoundPart: Sendable {
  /// The rows that it changes; nil where it changes none that is there.
  let load: Query?
  /// Whether it takes so long that nobody should wait for it.
  var isLarge = false
  /// How checkpoints move, when all else is written.
  var moves: [AssignmentStore.Move] = []
  /// - Parameter rows: what `load` answered.
  let statements: @Sendable (_ rows: ResultSet?) throws -> [Statement]
}

/// Writes what the lanes of a process have ready at one time in one transaction: what a transaction costs, with few events in it,
/// is mostly the transaction.
///
/// One that fails, or takes long, is everybody's, so that its parts go alone for a while: each then fails, or takes long, by
/// itself, and those that do neither share again.
final class SharedRounds: Sendable {
  typealias Lane = ObjectIdentifier

  private struct Entry {
    let lane: Lane
    let part: RoundPart
    let continuation: CheckedContinuation<Result<Void, any Error>, Never>
  }

  private struct State {
    var queue = RoundQueue<Lane, Entry>()
    /// Lanes whose parts are not to hold up the others.
    var alone: Set<Lane> = []
  }

  /// What is not urgent waits so long for company.
  private static let leisure = Duration.milliseconds(2)
  /// A round that takes longer is taken apart.
  private static let longestRound = Duration.milliseconds(250)
  /// A part that takes no longer may share again.
  private static let shortPart = Duration.milliseconds(100)

  private let pool: PostgresPool
  private let worker: UUID
  private let patience: Duration
  private let epoch = ContinuousClock.now
  private let state = Mutex(State())
  private let size = Recorder(label: "projector_round_parts")

  /// - Parameters:
  ///   - worker: who owns the assignments.
  ///   - patience: how long a round waits for those who plan, at most.
  init(_ readStore: PostgresPool, worker: UUID, patience: Duration = .milliseconds(5)) {
    (pool, self.worker, self.patience) = (readStore, worker, patience)
  }

  /// When to do what is done at intervals: all lanes at the same moments, so that they do it together.
  func next(within interval: Duration) -> ContinuousClock.Instant {
    let passed = ((ContinuousClock.now - epoch) / interval).rounded(.down)
    return epoch + interval * (passed + 1)
  }

  /// These lanes have just been given deliveries: a round waits for what they make of them.
  func expect(_ lanes: [Lane]) { state.withLock { $0.queue.expect(lanes) } }

  /// The lane has nothing to write, for now.
  func settle(_ lane: Lane) { go(state.withLock { $0.queue.settle(lane) }) }

  /// Writes the part, with others or alone.
  /// - Parameter isUrgent: otherwise it waits a moment for others.
  func write(_ part: RoundPart, of lane: Lane, isUrgent: Bool = true) async throws {
    if part.isLarge || state.withLock({ $0.alone.contains(lane) }) {
      settle(lane)
      return try await write(part, alone: lane).get()
    }
    try await withCheckedContinuation { continuation in
      let entry = Entry(lane: lane, part: part, continuation: continuation)
      go(state.withLock { $0.queue.add(entry, of: lane, isUrgent: isUrgent) })
    }.get()
  }

  private func go(_ step: RoundQueue<Lane, Entry>.Step) {
    switch step {
    case .nothing: break
    case .pause(let pause):
      // Of nobody's task, but over within milliseconds.
      Task {
        try? await Task.sleep(for: pause == .leisure ? Self.leisure : patience)
        go(state.withLock { $0.queue.pauseIsOver() })
      }
    case .run(let entries):
      // Of nobody's task, so that a shutdown lets the transaction in hand finish.
      Task {
        await run(entries)
        go(state.withLock { $0.queue.roundIsOver() })
      }
    }
  }

  private func run(_ entries: [Entry]) async {
    guard entries.count > 1 else {
      return entries[0].continuation.resume(returning: await write(entries[0].part, alone: entries[0].lane))
    }
    let start = ContinuousClock.now
    do {
      try await transaction(entries.map(\.part))
      if ContinuousClock.now - start > Self.longestRound { leaveAlone(entries) }
      for entry in entries { entry.continuation.resume(returning: .success(())) }
    } catch {
      // Whose fault it is shows when each goes by itself.
      leaveAlone(entries)
      for entry in entries {
        Task { entry.continuation.resume(returning: await write(entry.part, alone: entry.lane)) }
      }
    }
  }

  private func leaveAlone(_ entries: [Entry]) { state.withLock { $0.alone.formUnion(entries.map(\.lane)) } }

  private func write(_ part: RoundPart, alone lane: Lane) async -> Result<Void, any Error> {
    let start = ContinuousClock.now
    do {
      try await Task { try await transaction([part]) }.value
      if ContinuousClock.now - start < Self.shortPart { state.withLock { _ = $0.alone.remove(lane) } }
      return .success(())
    } catch { return .failure(error) }
  }

  private func transaction(_ parts: [RoundPart]) async throws {
    size.record(parts.count)
    try await pool.withConnection { connection in
      try await connection.transaction(reading: parts.compactMap(\.load)) { answers in
        var answers = answers[...]
        let statements = try parts.flatMap { part in
          try part.statements(part.load == nil ? nil : answers.removeFirst())
        }
        let moves = parts.flatMap(\.moves)
        return moves.isEmpty ? statements : statements + [.query(AssignmentStore.make(moves, by: worker))]
      }
    }
  }
}
