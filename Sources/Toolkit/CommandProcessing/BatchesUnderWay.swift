internal import EventSourcing

/// The batches that are being appended: at most two, or only one if it takes contention locks.
struct BatchesUnderWay {
  static let limit = 2

  private var count = 0
  private var commands = 0
  private var holdsLocks = false
  /// The number of batches that write each stream.
  private var written: [StreamID: Int] = [:]

  var isAlone: Bool { count == 0 }

  /// Whether another batch may start. A second batch that is smaller than the first would start a series of ever
  /// smaller batches.
  func leavesRoom(for waiting: Int) -> Bool {
    waiting > 0 && (count == 0 || count < Self.limit && !holdsLocks && waiting >= commands)
  }

  func writes(_ stream: StreamID) -> Bool { written[stream] != nil }

  mutating func begin(commands: Int, writing streams: Set<StreamID>) {
    count += 1
    self.commands += commands
    for stream in streams { written[stream, default: 0] += 1 }
  }

  mutating func end(commands: Int, writing streams: Set<StreamID>) {
    count -= 1
    self.commands -= commands
    for stream in streams {
      guard let count = written[stream] else { continue }
      written[stream] = count > 1 ? count - 1 : nil
    }
  }

  mutating func beginHoldingLocks() {
    count += 1
    holdsLocks = true
  }

  mutating func endHoldingLocks() {
    count -= 1
    holdsLocks = false
  }
}
