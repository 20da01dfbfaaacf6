internal import DequeModule

/// Records which published messages wait for a confirm, by delivery tag. It does no I/O.
///
/// The broker numbers the messages of a channel from 1. It confirms one tag, or all tags up to one. If no queue takes a
/// message, the broker first returns it and then confirms it. The return has no tag, so the message id identifies it.
struct ConfirmLedger {
  private struct Batch {
    var confirmations: [PublishOutcome]
    var unsettled: Int
  }

  private struct Entry {
    let tag: UInt64
    let batch: Int
    let slot: Int
    let size: Int
    let messageID: String
    let deadline: ContinuousClock.Instant
    var isSettled = false
  }

  private var entries: Deque<Entry> = []
  private var batches: [Int: Batch] = [:]
  private var tagsByMessageID: [String: UInt64] = [:]
  private(set) var nextTag: UInt64 = 1
  private(set) var bytesInFlight = 0

  /// Records messages before they are sent; `batch` must be new.
  mutating func open(batch: Int, sizes: [Int], messageIDs: [String], deadline: ContinuousClock.Instant) {
    batches[batch] = Batch(
      confirmations: Array(repeating: .accepted, count: sizes.count), unsettled: sizes.count)
    for (slot, size) in sizes.enumerated() {
      tagsByMessageID[messageIDs[slot]] = nextTag
      entries.append(
        Entry(tag: nextTag, batch: batch, slot: slot, size: size, messageID: messageIDs[slot], deadline: deadline))
      nextTag += 1
    }
    bytesInFlight += sizes.reduce(0, +)
  }

  mutating func returned(messageID: String, reply: UInt16, text: String) {
    guard let tag = tagsByMessageID[messageID], let index = index(of: tag) else { return }
    set(.returned(reply: reply, text: text), at: index)
  }

  /// - Returns: the batches that are complete now, with the outcome of each message.
  mutating func settle(_ tag: UInt64, multiple: Bool, accepted: Bool) -> [(batch: Int, [PublishOutcome])] {
    var complete: [(Int, [PublishOutcome])] = []
    func settle(_ index: Int) {
      guard !entries[index].isSettled else { return }
      entries[index].isSettled = true
      bytesInFlight -= entries[index].size
      if tagsByMessageID[entries[index].messageID] == entries[index].tag {
        tagsByMessageID[entries[index].messageID] = nil
      }
      if !accepted { set(.refused, at: index) }
      let batch = entries[index].batch
      batches[batch]?.unsettled -= 1
      if let done = batches[batch], done.unsettled == 0 {
        batches[batch] = nil
        complete.append((batch, done.confirmations))
      }
    }
    if multiple {
      for index in entries.indices where entries[index].tag <= tag { settle(index) }
    } else if let index = index(of: tag) {
      settle(index)
    }
    while let first = entries.first, first.isSettled { entries.removeFirst() }
    return complete
  }

  /// The time by which the oldest message must be confirmed.
  var deadline: ContinuousClock.Instant? { entries.first?.deadline }

  private mutating func set(_ confirmation: PublishOutcome, at index: Int) {
    batches[entries[index].batch]?.confirmations[entries[index].slot] = confirmation
  }

  /// Tags have no gaps, so the index follows from the first tag.
  private func index(of tag: UInt64) -> Int? {
    guard let first = entries.first, tag >= first.tag, tag - first.tag < entries.count else { return nil }
    return Int(tag - first.tag)
  }
}
