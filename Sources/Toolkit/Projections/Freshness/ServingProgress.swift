public import EventSourcing
internal import FoundationEssentials

/// The rows that a query reads of one projection: the row of one stream, or any rows.
public struct Reads: Sendable, Hashable {
  /// The name of the projection.
  public let projection: String
  /// nil if the query may read many rows.
  public let stream: StreamID?

  /// Names the rows of a query.
  /// - Parameters:
  ///   - projection: The name of the projection.
  ///   - stream: The stream whose row the query reads; nil if it may read many rows.
  public init(_ projection: String, _ stream: StreamID? = nil) {
    self.projection = projection
    self.stream = stream
  }
}

/// The minimum freshness of an answer.
package struct Freshness: Sendable, Hashable {
  /// The answer includes every event up to here that concerns it.
  package let position: Position
  /// The answer is no older than this; nil while that is unknown.
  package let asOf: ContinuousClock.Instant?
}

/// How far one serving generation has come, as read at one time.
struct ServingProgress: Sendable {
  let generation: Int
  let partitioning: Partitioning
  /// The history id that the positions belong to; nil while it is unknown.
  let historyID: UUID?
  /// By partition; -1 if the checkpoint belongs to another history.
  let positions: [Int64]
  /// The position at which each parked stream waits, by `StreamID.wideHash`.
  let parked: [UInt64: Int64]
  /// For each parked stream, `asOf` of its partition before the stream was seen parked.
  private let parkedSince: [UInt64: ContinuousClock.Instant]
  /// A hash of the parked streams and their positions: when it changes, a row may have changed.
  let parkedMark: UInt64
  /// A hash of all positions, valid in this process only.
  let positionsMark: Int64
  /// By partition: the position up to which nothing is missing, events of other partitions included.
  private(set) var complete: [Int64]
  private(set) var asOf: [ContinuousClock.Instant?]

  init(
    generation: Int, partitioning: Partitioning, historyID: UUID?, positions: [Int64], parked: [UInt64: Int64],
    heads: [StoreHeads.Heads],
    before: ServingProgress?
  ) {
    self.generation = generation
    self.partitioning = partitioning
    self.historyID = historyID
    self.positions = positions
    self.parked = parked
    parkedMark = parked.reduce(0) { $0 &+ $1.key &* 31 &+ UInt64(bitPattern: $1.value) }
    var hasher = Hasher()
    hasher.combine(positions)
    positionsMark = Int64(hasher.finalize())
    complete = positions
    asOf = Array(repeating: nil, count: positions.count)
    var since: [UInt64: ContinuousClock.Instant] = [:]
    if let before, before.partitioning == partitioning, before.historyID == historyID {
      // The earlier values still hold, unless the read store lost transactions.
      for index in positions.indices where positions[index] >= before.positions[index] {
        (complete[index], asOf[index]) = (max(positions[index], before.complete[index]), before.asOf[index])
      }
      for stream in parked.keys {
        let index = partitioning.partition(ofHash: UInt16(stream >> 48)).index
        // If the stream waits at a later event now, that event may have waited as long.
        since[stream] = before.parked[stream] != nil ? before.parkedSince[stream] : before.asOf[index]
      }
    }
    parkedSince = since
    for (index, partition) in partitioning.partitions.enumerated() {
      for heads in heads where heads.head(of: partition) <= positions[index] {
        complete[index] = max(complete[index], heads.last)
        asOf[index] = max(asOf[index] ?? heads.at, heads.at)
        break
      }
    }
  }

  func partition(of stream: UInt64) -> Int { partitioning.partition(ofHash: UInt16(stream >> 48)).index }

  private func partitions(of reads: Reads) -> Range<Int> {
    guard let stream = reads.stream else { return positions.indices }
    let index = partition(of: stream.wideHash)
    return index..<index + 1
  }

  /// Returns how fresh an answer is for certain. A parked stream limits every answer that could include it.
  func freshness(of reads: Reads) -> Freshness {
    let progress = progress(of: reads)
    let range = partitions(of: reads)
    let waiting = parked.filter { stream, _ in
      reads.stream.map { $0.wideHash == stream } ?? range.contains(partition(of: stream))
    }
    guard let first = waiting.values.min() else { return progress }
    let since = waiting.keys.map { parkedSince[$0] }
    return Freshness(
      position: min(progress.position, Position(max(first - 1, 0))),
      asOf: since.contains(nil)
        ? nil : since.compactMap { $0 }.min().flatMap { since in progress.asOf.map { min($0, since) } })
  }

  /// Whether a partition's checkpoint belongs to another history.
  var isOfAnother: Bool { positions.contains(-1) }

  /// Returns how far the partitions have come, without regard to parked streams.
  func progress(of reads: Reads) -> Freshness {
    let range = partitions(of: reads)
    var asOf: ContinuousClock.Instant?
    for index in range {
      guard let time = self.asOf[index] else {
        asOf = nil
        break
      }
      asOf = min(asOf ?? time, time)
    }
    return Freshness(position: Position(max(complete[range].min() ?? 0, 0)), asOf: asOf)
  }
}
