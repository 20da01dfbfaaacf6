/// How the read side divides streams among workers: by ranges of the stream's hash.
public struct Partitioning: Hashable, Sendable {
  /// The store keeps an index of 64 buckets; fewer partitions take several each, more are not offered.
  public static let bucketCount = 64
  public static let allowed = [1, 2, 4, 8, 16, 32, 64]

  public let count: Int

  /// - Parameter count: a power of two from 1 to 64; nil otherwise.
  public init?(count: Int) {
    guard Self.allowed.contains(count) else { return nil }
    self.count = count
  }

  public static let standard = Partitioning(count: 16)!
  /// A partition for each bucket.
  public static let finest = Partitioning(count: bucketCount)!

  public var partitions: [Partition] { (0..<count).map { Partition(index: $0, partitioning: self) } }

  public func partition(of stream: StreamID) -> Partition { partition(ofHash: stream.hash) }

  public func partition(ofHash hash: UInt16) -> Partition {
    Partition(index: (Int(hash) * count) >> 16, partitioning: self)
  }
}

/// One of a partitioning's ranges, counted from 0. All events of a stream are in the same one.
public struct Partition: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let index: Int
  public let partitioning: Partitioning

  init(index: Int, partitioning: Partitioning) {
    self.index = index
    self.partitioning = partitioning
  }

  /// The store's index buckets (upper 6 bits of the hash) that make up this partition.
  public var buckets: Range<Int> {
    let width = Partitioning.bucketCount / partitioning.count
    return index * width..<(index + 1) * width
  }

  public func contains(_ stream: StreamID) -> Bool { partitioning.partition(of: stream) == self }
  public static func < (a: Partition, b: Partition) -> Bool { a.index < b.index }
  public var description: String { "\(index)/\(partitioning.count)" }
}
