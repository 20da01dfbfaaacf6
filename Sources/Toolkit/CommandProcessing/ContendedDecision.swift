internal import EventSourcing
internal import FoundationEssentials
internal import Synchronization

/// The decision of a batch under contention locks, made on the new events of the contended streams.
final class ContendedDecision: Sendable {
  private struct State {
    var decided: DecidedBatch?
    var refreshed: [StreamID: StreamState] = [:]
  }

  private let limit: Int
  private let state = Mutex(State())

  /// - Parameter limit: The largest number of events read from a stream. A stream with that many may have more.
  init(limit: Int) { self.limit = limit }

  /// The decision; nil if there were too many new events, or one could not be read.
  var decided: DecidedBatch? { state.withLock { $0.decided } }
  /// The states of the streams that others wrote.
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
