public import EventSourcing
internal import FoundationEssentials

/// What a query reads of one projection: the row of a stream, or anything.
public struct Reads: Sendable, Hashable {
  public let projection: String
  /// nil for many rows.
  public let stream: StreamID?

  public init(_ projection: String, _ stream: StreamID? = nil) {
    self.projection = projection
    self.stream = stream
  }
}

/// How fresh an answer is, at least.
public struct Freshness: Sendable, Hashable {
  /// Every event up to here that concerns the answer is in it.
  public let position: Position
  /// No older than this; nil where the write store has not been seen.
  public let asOf: ContinuousClock.Instant?
}

/// How far one serving generation has come, as it was read at one time.
struct ServingProgress: Sendable {
  let generation: Int
  let partitioning: Partitioning
  /// The history that the positions are of; nil while it is not known.
  let historyID: UUID?
  /// By partition; -1 where it is of another history.
  let positions: [Int64]
  /// Streams that wait at a position, by their whole hashes.
  let parked: [UInt64: Int64]
  /// What was known of a stream's partition before it was seen to wait.
  private let parkedSince: [UInt64: ContinuousClock.Instant]
  /// Stands for which streams are parked where: a row may change when that does.
  let parkedMark: UInt64
  /// Stands for all positions: a hash, in this process alone.
  let positionsMark: Int64
  /// By partition: up to where everything is in, events of other partitions included.
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
      // What was fresh is so still, unless the rows went back with the read store.
      for index in positions.indices where positions[index] >= before.positions[index] {
        (complete[index], asOf[index]) = (max(positions[index], before.complete[index]), before.asOf[index])
      }
      for stream in parked.keys {
        let index = partitioning.partition(ofHash: UInt16(stream >> 48)).index
        // Where it waits at a later event now, that one may have waited as long.
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

  /// What an answer is sure to have in it: streams that wait hold back what is said of every answer that they may be in.
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

  /// Whether nothing of this history is known of a partition.
  var isOfAnother: Bool { positions.contains(-1) }

  /// How far the partitions have come, parked streams.
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
