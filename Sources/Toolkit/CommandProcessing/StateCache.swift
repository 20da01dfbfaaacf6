internal import EventSourcing

/// Folded states of streams, bounded in bytes. Nothing in it is trusted: the expected versions of an append prove
/// every state that a decision used.
///
/// Two generations: what is used lives in the young one; when that is half of all it becomes the old one,
/// whose predecessor is dropped.
struct StateCache {
  /// What an entry takes beside its state and its name, as measured with small states.
  private static let overhead = 250

  let capacity: Int
  private var young: [StreamID: StreamState] = [:]
  private var old: [StreamID: StreamState] = [:]
  private var youngSize = 0

  /// - Parameter capacity: bytes, by the aggregates' own estimate.
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
