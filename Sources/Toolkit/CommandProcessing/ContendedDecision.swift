internal import EventSourcing
internal import FoundationEssentials
internal import Synchronization

/// What is decided while the contention locks are held, from what was new in the contended streams.
final class ContendedDecision: Sendable {
  private struct State {
    var decided: DecidedBatch?
    var refreshed: [StreamID: StreamState] = [:]
  }

  private let limit: Int
  private let state = Mutex(State())

  /// - Parameter limit: events read of a stream at most; one with so many may have more.
  init(limit: Int) { self.limit = limit }

  /// nil when too much was new, or could not be read.
  var decided: DecidedBatch? { state.withLock { $0.decided } }
  /// Streams that others have written, as they left them.
  var refreshed: [StreamID: StreamState] { state.withLock { $0.refreshed } }

  func decide(
    _ batch: [PendingCommand], _ states: [StreamID: StreamState], _ events: [StreamID: [RecordedEvent]],
    _ bounds: DecidedBatch.Bounds, _ time: Timestamp, _ history: UUID?
  ) -> AppendBatch? {
    var states = states
    for (stream, events) in events {
      guard events.count < limit, (try? states[stream]?.apply(events)) != nil else { return nil }
    }
    let decided = DecidedBatch(batch, from: states, within: bounds, at: time, in: history)
    let refreshed = states.filter { events[$0.key] != nil }
    state.withLock { $0 = State(decided: decided, refreshed: refreshed) }
    return decided.append
  }
}
