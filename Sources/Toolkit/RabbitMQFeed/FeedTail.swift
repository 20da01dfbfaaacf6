internal import DequeModule
internal import EventSourcing
internal import FoundationEssentials
internal import Synchronization

/// The last events that the live feed has read. The integration feed is usually as far, and takes them from here
/// instead of reading the store again. The tail is bounded: older events are in the store alone.
final class FeedTail: Sendable {
  private static let maximumEvents = 5_000
  private static let maximumSize = 8 * 1024 * 1024

  private struct State {
    var historyID: UUID?
    var events: Deque<RecordedEvent> = []
    var size = 0
  }

  private let state = Mutex(State())

  /// - Parameter events: have consecutive positions.
  func add(_ events: [RecordedEvent], in historyID: UUID) {
    guard let first = events.first else { return }
    state.withLock { state in
      if state.historyID != historyID || state.events.last?.position.advanced(by: 1) != first.position {
        state = State(historyID: historyID)
      }
      state.events.append(contentsOf: events)
      state.size += events.reduce(0) { $0 + $1.feedSize }
      while state.events.count > Self.maximumEvents || (state.size > Self.maximumSize && state.events.count > 1) {
        state.size -= state.events.removeFirst().feedSize
      }
    }
  }

  /// Returns the events after a position of that history; none if they are not in the tail.
  func events(after position: Position, in historyID: UUID, limit: Int) -> [RecordedEvent] {
    state.withLock { state in
      guard state.historyID == historyID, let first = state.events.first?.position else { return [] }
      let skipped = position.rawValue + 1 - first.rawValue
      guard skipped >= 0, skipped < state.events.count else { return [] }
      return Array(state.events[Int(skipped)...].prefix(limit))
    }
  }
}
