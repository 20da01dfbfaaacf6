internal import EventSourcing

/// The folded states of streams, bounded in bytes. A stale state does no harm: the expected versions of an append prove
/// every state that a decision used.
struct StateCache {
  /// Bytes per entry in addition to its state and its name, measured with small states.
  private static let overhead = 250

  private var states: BoundedCache<StreamID, StreamState>

  /// - Parameter capacity: Bytes, by the aggregates' `footprint`.
  init(capacity: Int) { states = BoundedCache(capacity: capacity) }

  var count: Int { states.count }

  subscript(stream: StreamID) -> StreamState? {
    mutating get { states.value(of: stream) }
    set {
      guard let state = newValue else { return states.remove(stream) }
      let cost = Self.overhead + stream.rawValue.utf8.count + state.state.footprint
      states.insert(state, for: stream, cost: cost)
    }
  }
}
