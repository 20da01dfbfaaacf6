package import FoundationEssentials

/// Groups the store's events into messages with one batch per partition. Every batch names the partition's event before
/// it.
package struct FeedBatcher: Sendable {
  /// The largest number of bytes of events in one message. A larger event is sent alone.
  package static let maximumSize = 256 * 1024

  private let historyID: UUID
  private let partitioning: Partitioning
  private let partitions: [Partition]
  private var previous: [FeedBatch.Previous]

  /// Creates a batcher for the events after some position.
  /// - Parameters:
  ///   - historyID: The id of the history that the events belong to.
  ///   - partitioning: The partitions of the batches.
  ///   - heads: The heads of all partitions, in order, at the position after which the events follow.
  package init(historyID: UUID, partitioning: Partitioning, heads: [PartitionHead]) {
    precondition(heads.count == partitioning.count, "one head a partition")
    self.historyID = historyID
    self.partitioning = partitioning
    partitions = partitioning.partitions
    previous = heads.map { FeedBatch.Previous(position: $0.position, eventID: $0.eventID) }
  }

  /// Returns the messages for the next events.
  /// - Parameter events: Consecutive events of the store that follow those of the last call. Events at or below a
  ///   partition's head are left out: the head is read a moment after the start position, and may be ahead of it.
  package mutating func messages(of events: [RecordedEvent]) -> [FeedMessage] {
    var messages: [FeedMessage] = []
    var open: [Int: [RecordedEvent]] = [:]
    var size = 0
    for event in events {
      let index = partitioning.partition(ofHash: event.hash).index
      guard event.position > previous[index].position else { continue }
      if size > 0, size + event.feedSize > Self.maximumSize {
        messages.append(close(open))
        (open, size) = ([:], 0)
      }
      open[index, default: []].append(event)
      size += event.feedSize
    }
    if !open.isEmpty { messages.append(close(open)) }
    return messages
  }

  private mutating func close(_ open: [Int: [RecordedEvent]]) -> FeedMessage {
    var batches: [FeedBatch] = []
    for (index, events) in open.sorted(by: { $0.key < $1.key }) {
      batches.append(
        FeedBatch(
          historyID: historyID, partition: partitions[index], previous: previous[index], events: events))
      previous[index] = FeedBatch.Previous(position: events.last!.position, eventID: events.last!.id)
    }
    return FeedMessage(batches)
  }
}
