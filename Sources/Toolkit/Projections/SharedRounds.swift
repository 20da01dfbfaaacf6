internal import FoundationEssentials
internal import Machine
internal import Metrics
internal import Synchronization

/// Writes in one transaction the parts that the lanes of a process have ready at the same time. A transaction with
/// few events costs little more than an empty one.
///
/// A transaction that fails or is slow harms all its parts. So its lanes write alone for a while. Each lane then
/// fails or is slow alone, and the others share again.
final class SharedRounds: Sendable {
  typealias Lane = ObjectIdentifier

  private struct Entry {
    let lane: Lane
    let part: RoundPart
    let continuation: CheckedContinuation<Result<Void, any Error>, Never>
  }

  private struct State {
    var queue = RoundQueue<Lane, Entry>()
    /// Lanes that write alone, so that they do not delay the others.
    var alone: Set<Lane> = []
  }

  /// How long a part that is not urgent waits for others.
  private static let leisure = Duration.milliseconds(2)
  /// If a round takes longer, its lanes write alone afterwards.
  private static let longestRound = Duration.milliseconds(250)
  /// A lane whose part took less time may share again.
  private static let shortPart = Duration.milliseconds(100)

  private let store: any ProjectionStore
  private let worker: UUID
  private let patience: Duration
  private let epoch = Machine.now
  private let state = Mutex(State())
  private let size = Recorder(label: "projector_round_parts")

  /// - Parameters:
  ///   - worker: the owner of the assignments.
  ///   - patience: how long a round waits for lanes that plan, at most.
  init(_ store: any ProjectionStore, worker: UUID, patience: Duration = .milliseconds(5)) {
    (self.store, self.worker, self.patience) = (store, worker, patience)
  }

  /// Returns the next time for periodic work. All lanes get the same times, so that they write in the same round.
  func next(within interval: Duration) -> ContinuousClock.Instant {
    let passed = ((Machine.now - epoch) / interval).rounded(.down)
    return epoch + interval * (passed + 1)
  }

  /// Records that these lanes have just received messages: a round waits for their parts.
  func expect(_ lanes: [Lane]) { state.withLock { $0.queue.expect(lanes) } }

  /// Records that the lane has nothing to write for now.
  func settle(_ lane: Lane) { go(state.withLock { $0.queue.settle(lane) }) }

  /// Writes the part, with other parts or alone.
  /// - Parameter isUrgent: if false, the part waits a moment for others.
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
      // Unstructured, but it ends within milliseconds.
      Task {
        try? await Machine.sleep(for: pause == .leisure ? Self.leisure : patience)
        go(state.withLock { $0.queue.pauseIsOver() })
      }
    case .run(let entries):
      // Unstructured, so that a shutdown lets the current transaction finish.
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
    let start = Machine.now
    do {
      try await transaction(entries.map(\.part))
      if Machine.now - start > Self.longestRound { leaveAlone(entries) }
      for entry in entries { entry.continuation.resume(returning: .success(())) }
    } catch {
      // Written alone, each part shows whether it is the one that fails.
      leaveAlone(entries)
      for entry in entries {
        Task { entry.continuation.resume(returning: await write(entry.part, alone: entry.lane)) }
      }
    }
  }

  private func leaveAlone(_ entries: [Entry]) { state.withLock { $0.alone.formUnion(entries.map(\.lane)) } }

  private func write(_ part: RoundPart, alone lane: Lane) async -> Result<Void, any Error> {
    let start = Machine.now
    do {
      try await Task { try await transaction([part]) }.value
      if Machine.now - start < Self.shortPart { state.withLock { _ = $0.alone.remove(lane) } }
      return .success(())
    } catch { return .failure(error) }
  }

  private func transaction(_ parts: [RoundPart]) async throws {
    size.record(parts.count)
    try await store.write(parts, by: worker)
  }
}
