internal import EventSourcing

/// Streams that other replicas write too: commands on them are best decided in turn.
struct Contention {
  /// Turns in which nobody else has written a stream, after which it counts as ours alone.
  static let quietTurns = 8
  /// Streams kept in mind; more are forgotten, at the price of a conflict each.
  static let capacity = 10_000

  private var turnsLeft: [StreamID: Int] = [:]

  mutating func conflicted(_ stream: StreamID) {
    if turnsLeft.count >= Self.capacity { turnsLeft = [:] }
    turnsLeft[stream] = Self.quietTurns
  }

  func contains(_ stream: StreamID) -> Bool { turnsLeft[stream] != nil }

  /// A turn has ended.
  mutating func hadTurn(_ streams: some Sequence<StreamID>, new: (StreamID) -> Bool) {
    for stream in streams {
      guard let left = turnsLeft[stream] else { continue }
      turnsLeft[stream] = new(stream) ? Self.quietTurns : left > 1 ? left - 1 : nil
    }
  }

  mutating func forget() { turnsLeft = [:] }
}
