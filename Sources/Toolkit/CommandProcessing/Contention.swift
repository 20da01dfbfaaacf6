internal import EventSourcing

/// Streams that other replicas write too: commands on them are decided under contention locks.
struct Contention {
  /// Batches under its lock in which nobody else has written a stream; after so many it counts as ours alone.
  static let quietBatches = 8
  /// Streams kept in mind; more are forgotten, at the price of a conflict each.
  static let capacity = 10_000

  private var batchesLeft: [StreamID: Int] = [:]

  mutating func conflicted(_ stream: StreamID) {
    if batchesLeft.count >= Self.capacity { batchesLeft = [:] }
    batchesLeft[stream] = Self.quietBatches
  }

  func contains(_ stream: StreamID) -> Bool { batchesLeft[stream] != nil }

  /// A batch under these streams' locks has ended.
  mutating func heldLocks(_ streams: some Sequence<StreamID>, new: (StreamID) -> Bool) {
    for stream in streams {
      guard let left = batchesLeft[stream] else { continue }
      batchesLeft[stream] = new(stream) ? Self.quietBatches : left > 1 ? left - 1 : nil
    }
  }

  mutating func forget() { batchesLeft = [:] }
}
