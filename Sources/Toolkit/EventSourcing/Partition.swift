/// How the read side divides streams among workers: by ranges of the streams' hashes.
public struct Partitioning: Hashable, Sendable {
  /// The store's index has 64 buckets. A partition is one or more whole buckets, so there are at most 64 partitions.
  public static let bucketCount = 64
  /// The numbers of partitions that are allowed: the powers of two up to 64.
  public static let allowed = [1, 2, 4, 8, 16, 32, 64]

  /// The number of partitions.
  public let count: Int

  /// Divides streams into so many partitions.
  /// - Parameter count: A power of two from 1 to 64.
  /// - Returns: nil for any other number.
  public init?(count: Int) {
    guard Self.allowed.contains(count) else { return nil }
    self.count = count
  }

  /// The default of the setting `PARTITIONS`: 16 partitions.
  public static let standard = Partitioning(count: 16)!
  /// One partition: all events in the order of their positions.
  public static let single = Partitioning(count: 1)!
  /// One partition for each bucket.
  public static let finest = Partitioning(count: bucketCount)!

  /// The partitions, in the order of their indexes.
  public var partitions: [Partition] { (0..<count).map { Partition(index: $0, partitioning: self) } }

  /// Returns the partition of a stream.
  public func partition(of stream: StreamID) -> Partition { partition(ofHash: stream.hash) }

  /// Returns the partition of the streams with a hash.
  /// - Parameter hash: `StreamID.hash`.
  public func partition(ofHash hash: UInt16) -> Partition {
    Partition(index: (Int(hash) * count) >> 16, partitioning: self)
  }
}

/// One range of a partitioning. Its index starts at 0. All events of a stream are in the same partition.
public struct Partition: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The number of the partition, from 0.
  public let index: Int
  /// The partitioning that the partition is a part of.
  public let partitioning: Partitioning

  init(index: Int, partitioning: Partitioning) {
    self.index = index
    self.partitioning = partitioning
  }

  /// The store's index buckets (the upper 6 bits of the hash) in this partition.
  public var buckets: Range<Int> {
    let width = Partitioning.bucketCount / partitioning.count
    return index * width..<(index + 1) * width
  }

  /// Whether the partition has the events of this stream.
  public func contains(_ stream: StreamID) -> Bool { partitioning.partition(of: stream) == self }
  public static func < (a: Partition, b: Partition) -> Bool { a.index < b.index }
  public var description: String { "\(index)/\(partitioning.count)" }
}
