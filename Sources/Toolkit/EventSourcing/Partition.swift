/// How the read side divides streams among workers: by ranges of the streams' hashes.
public struct Partitioning: Hashable, Sendable {
  /// The store's index has 64 buckets. A partition is one or more whole buckets, so there are at most 64 partitions.
  public static let bucketCount = 64
  public static let allowed = [1, 2, 4, 8, 16, 32, 64]

  public let count: Int

  /// - Parameter count: A power of two from 1 to 64. Returns nil for any other number.
  public init?(count: Int) {
    guard Self.allowed.contains(count) else { return nil }
    self.count = count
  }

  public static let standard = Partitioning(count: 16)!
  /// One partition: all events in the order of their positions.
  public static let single = Partitioning(count: 1)!
  /// One partition for each bucket.
  public static let finest = Partitioning(count: bucketCount)!

  public var partitions: [Partition] { (0..<count).map { Partition(index: $0, partitioning: self) } }

  public func partition(of stream: StreamID) -> Partition { partition(ofHash: stream.hash) }

  public func partition(ofHash hash: UInt16) -> Partition {
    Partition(index: (Int(hash) * count) >> 16, partitioning: self)
  }
}

/// One range of a partitioning. Its index starts at 0. All events of a stream are in the same partition.
public struct Partition: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let index: Int
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

  public func contains(_ stream: StreamID) -> Bool { partitioning.partition(of: stream) == self }
  public static func < (a: Partition, b: Partition) -> Bool { a.index < b.index }
  public var description: String { "\(index)/\(partitioning.count)" }
}
