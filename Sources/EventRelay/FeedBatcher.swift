public import EventSourcing
public import FoundationEssentials

/// Sorts events, as they stand in the store, into batches per partition, and keeps each partition's
/// chain: every batch names the event before it.
public struct FeedBatcher: Sendable {
  /// Bytes of events in one batch, unless one event alone is larger.
  public static let maximumSize = 256 * 1024

  private let incarnation: UUID
  private let partitioning: Partitioning
  private var previous: [FeedBatch.Previous]

  /// - Parameter heads: of every partition, in order, as they were at the position after which events
  ///   will be given.
  public init(incarnation: UUID, partitioning: Partitioning, heads: [PartitionHead]) {
    precondition(heads.count == partitioning.count, "one head a partition")
    self.incarnation = incarnation
    self.partitioning = partitioning
    previous = heads.map { FeedBatch.Previous(position: $0.position, eventID: $0.eventID) }
  }

  /// - Parameter events: consecutive in the store, following those of the last call. Events at or below
  ///   a partition's head are left out: it was read a moment after the position to start from.
  public mutating func batches(of events: [RecordedEvent]) -> [FeedBatch] {
    var open: [Int: [RecordedEvent]] = [:]
    var sizes: [Int: Int] = [:]
    var batches: [FeedBatch] = []
    for event in events {
      let index = partitioning.partition(ofHash: event.hash).index
      guard event.position > previous[index].position else { continue }
      if let size = sizes[index], size + event.feedSize > Self.maximumSize {
        batches.append(close(index, open.removeValue(forKey: index)!))
        sizes[index] = nil
      }
      open[index, default: []].append(event)
      sizes[index, default: 0] += event.feedSize
    }
    for (index, events) in open.sorted(by: { $0.key < $1.key }) { batches.append(close(index, events)) }
    return batches
  }

  private mutating func close(_ index: Int, _ events: [RecordedEvent]) -> FeedBatch {
    defer { previous[index] = FeedBatch.Previous(position: events.last!.position, eventID: events.last!.id) }
    return FeedBatch(
      incarnation: incarnation, partition: partitioning.partitions[index], previous: previous[index], events: events)
  }
}
