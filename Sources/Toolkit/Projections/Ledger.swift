package import EventSourcing
internal import FoundationEssentials
internal import PostgresEventStore

/// A record of the applied events, as proof that none is missing: for each partition and block of 65,536 positions,
/// the number of events and the xor of the lower halves of their ids.
package enum Ledger {
  package static let blockBits: Int64 = 16

  package struct Key: Hashable, Sendable {
    package let partition: Int
    package let block: Int64

    init(_ partition: Partition, _ position: Position) {
      self.partition = partition.index
      block = position.rawValue >> blockBits
    }

    package init(partition: Int, block: Int64) {
      self.partition = partition
      self.block = block
    }
  }

  /// What a move of one assignment's checkpoint adds.
  package struct Addition: Sendable {
    package init() {}

    private(set) var entries: [Key: Entry] = [:]
    private(set) var count = 0

    package mutating func add(_ events: some Sequence<RecordedEvent>, _ partition: Partition) {
      for event in events {
        entries[Key(partition, event.position), default: .init()].add(event.id)
        count += 1
      }
    }
  }

  package struct Entry: Hashable, Sendable {
    package var count: Int64 = 0
    package var ids: Int64 = 0

    package init(count: Int64 = 0, ids: Int64 = 0) { (self.count, self.ids) = (count, ids) }

    mutating func add(_ id: UUID) {
      count += 1
      ids ^= withUnsafeBytes(of: id.uuid) { Int64(bigEndian: $0.loadUnaligned(fromByteOffset: 8, as: Int64.self)) }
    }

    mutating func add(_ digest: EventsDigest) {
      count += digest.count
      ids ^= digest.ids
    }
  }
}
