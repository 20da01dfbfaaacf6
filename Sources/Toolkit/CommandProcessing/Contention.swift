internal import EventSourcing

/// Streams that other replicas write too: commands on them are decided under contention locks.
struct Contention {
  /// A stream is no longer contended after this many batches under its lock in which nobody else wrote it.
  static let quietBatches = 8
  /// The largest number of streams remembered. Then all are forgotten, at the cost of one conflict each.
  static let capacity = 10_000

  private var batchesLeft: [StreamID: Int] = [:]

  mutating func conflicted(_ stream: StreamID) {
    if batchesLeft.count >= Self.capacity { batchesLeft = [:] }
    batchesLeft[stream] = Self.quietBatches
  }

  func contains(_ stream: StreamID) -> Bool { batchesLeft[stream] != nil }

  /// Records that a batch held these streams' locks.
  /// - Parameter new: Whether others wrote the stream.
  mutating func heldLocks(_ streams: some Sequence<StreamID>, new: (StreamID) -> Bool) {
    for stream in streams {
      guard let left = batchesLeft[stream] else { continue }
      batchesLeft[stream] = new(stream) ? Self.quietBatches : left > 1 ? left - 1 : nil
    }
  }

  mutating func forget() { batchesLeft = [:] }
}
