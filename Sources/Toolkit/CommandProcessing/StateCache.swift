internal import EventSourcing

/// The folded states of streams, bounded in bytes. A stale state does no harm: the expected versions of an append prove
/// every state that a decision used.
///
/// There are two generations. States in use are in the young one. When it exceeds half of the capacity, it becomes the
/// old one, and the previous old one is dropped.
struct StateCache {
  /// Bytes per entry in addition to its state and its name, measured with small states.
  private static let overhead = 250

  let capacity: Int
  private var young: [StreamID: StreamState] = [:]
  private var old: [StreamID: StreamState] = [:]
  private var youngSize = 0

  /// - Parameter capacity: Bytes, by the aggregates' `footprint`.
  init(capacity: Int) { self.capacity = capacity }

  var count: Int { young.count + old.count }

  subscript(stream: StreamID) -> StreamState? {
    mutating get {
      if let state = young[stream] { return state }
      guard let state = old.removeValue(forKey: stream) else { return nil }
      self[stream] = state
      return state
    }
    set {
      old[stream] = nil
      let previous = young[stream]
      young[stream] = newValue
      youngSize += (newValue.map { Self.size(stream, $0) } ?? 0) - (previous.map { Self.size(stream, $0) } ?? 0)
      if youngSize > capacity / 2 { (old, young, youngSize) = (young, [:], 0) }
    }
  }

  private static func size(_ stream: StreamID, _ state: StreamState) -> Int {
    overhead + stream.rawValue.utf8.count + state.state.footprint
  }
}
