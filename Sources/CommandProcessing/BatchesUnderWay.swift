internal import EventSourcing

/// The batches that are being appended: at most two, and one that takes a turn goes alone.
struct BatchesUnderWay {
  static let limit = 2

  private var count = 0
  private var commands = 0
  private var isTurn = false
  private var written: Set<StreamID> = []

  var isAlone: Bool { count == 0 }

  /// A second batch that is smaller than the first would be the start of ever smaller ones.
  func leavesRoom(for waiting: Int) -> Bool {
    waiting > 0 && (count == 0 || count < Self.limit && !isTurn && waiting >= commands)
  }

  func writes(_ stream: StreamID) -> Bool { written.contains(stream) }

  mutating func begin(_ batch: DecidedBatch) {
    count += 1
    commands += batch.commands.count
    for event in batch.append.events { written.insert(event.stream) }
  }

  mutating func beginTurn() {
    count += 1
    isTurn = true
  }

  /// - Parameter batch: nil for a turn.
  mutating func end(_ batch: DecidedBatch?) {
    count -= 1
    guard let batch else { return isTurn = false }
    commands -= batch.commands.count
    for event in batch.append.events { written.remove(event.stream) }
  }
}
