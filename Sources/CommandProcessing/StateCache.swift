internal import EventSourcing

/// Folded states of streams, bounded in number. Nothing in it is trusted: the guards of an append prove
/// every state that a decision used.
///
/// Two generations: what is used lives in the young one; when that is full it becomes the old one,
/// whose predecessor is dropped.
struct StateCache {
  let capacity: Int
  private var young: [StreamID: StreamState] = [:]
  private var old: [StreamID: StreamState] = [:]

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
      young[stream] = newValue
      if young.count > capacity / 2 { (old, young) = (young, [:]) }
    }
  }
}
