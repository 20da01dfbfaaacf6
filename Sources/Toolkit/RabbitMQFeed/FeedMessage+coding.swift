package import EventSourcing
internal import FoundationEssentials

/// A message of the live feed cannot be read: it comes from another version, or is damaged.
package struct FeedDecodingError: Error, Sendable, CustomStringConvertible {
  package let reason: String
  package var description: String { "the feed message cannot be read: \(reason)" }
}

// Version 2. All integers are big-endian.
// - Message: partition count u16, history id 16 bytes, batch count u16, batches.
// - Batch: partition u16, length of the rest u32, previous position i64, previous event id 16 bytes (zero for none),
//   event count u32, events.
// - Event: position i64, version i64, hash u16, id 16 bytes, schema version u32, recorded time i64 (microseconds since
//   1970); then stream, type, data and metadata, each after its length (u32).
extension FeedMessage {
  /// The message as bytes.
  package var encoded: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(size + 64 * (batches.count + 1))
    bytes.append(integer: UInt16(batches[0].partition.partitioning.count))
    bytes.append(batches[0].historyID)
    bytes.append(integer: UInt16(batches.count))
    for batch in batches {
      bytes.append(integer: UInt16(batch.partition.index))
      bytes.append(contentsOf: [0, 0, 0, 0])
      let start = bytes.count
      batch.encode(into: &bytes)
      Swift.withUnsafeBytes(of: UInt32(bytes.count - start).bigEndian) {
        bytes.replaceSubrange(start - 4..<start, with: $0)
      }
    }
    return bytes
  }

  /// Reads a message.
  /// - Parameter isWanted: whether to read the partition of that index; the others are left out.
  /// - Returns: nil if no partition of the message is wanted.
  package static func decode(
    _ bytes: [UInt8], where isWanted: (Int) -> Bool = { _ in true }
  ) throws(FeedDecodingError) -> FeedMessage? {
    var reader = Reader(bytes: bytes)
    let count = Int(try reader.integer(UInt16.self))
    guard let partitioning = Partitioning(count: count) else {
      throw FeedDecodingError(reason: "\(count) partitions")
    }
    let partitions = partitioning.partitions
    let historyID = try reader.uuid()
    let batchCount = Int(try reader.integer(UInt16.self))
    guard batchCount > 0 else { throw FeedDecodingError(reason: "no events") }
    var batches: [FeedBatch] = []
    var last = -1
    for _ in 0..<batchCount {
      let index = Int(try reader.integer(UInt16.self))
      guard index > last, index < count else { throw FeedDecodingError(reason: "partition \(index) of \(count)") }
      last = index
      let length = Int(try reader.integer(UInt32.self))
      guard isWanted(index) else {
        _ = try reader.take(length)
        continue
      }
      let end = reader.offset + length
      batches.append(try reader.batch(historyID, partitions[index]))
      guard reader.offset == end else {
        throw FeedDecodingError(reason: "a batch of \(length) bytes has another length")
      }
    }
    guard reader.isAtEnd else { throw FeedDecodingError(reason: "more bytes than events") }
    return batches.isEmpty ? nil : FeedMessage(batches)
  }
}

extension FeedBatch {
  fileprivate func encode(into bytes: inout [UInt8]) {
    bytes.append(integer: previous.position.rawValue)
    bytes.append(previous.eventID ?? .zero)
    bytes.append(integer: UInt32(events.count))
    for event in events {
      bytes.append(integer: event.position.rawValue)
      bytes.append(integer: event.version.rawValue)
      bytes.append(integer: event.hash)
      bytes.append(event.id)
      bytes.append(integer: UInt32(event.schemaVersion))
      bytes.append(integer: event.recordedAt.microsecondsSince1970)
      bytes.append(prefixed: event.stream.rawValue.utf8)
      bytes.append(prefixed: event.type.utf8)
      bytes.append(prefixed: event.data)
      bytes.append(prefixed: event.metadata)
    }
  }
}

private struct Reader {
  let bytes: [UInt8]
  var offset = 0

  init(bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { offset == bytes.count }

  mutating func take(_ count: Int) throws(FeedDecodingError) -> ArraySlice<UInt8> {
    guard count <= bytes.count - offset else { throw FeedDecodingError(reason: "cut off at byte \(bytes.count)") }
    defer { offset += count }
    return bytes[offset..<offset + count]
  }

  mutating func integer<Value: FixedWidthInteger>(_: Value.Type) throws(FeedDecodingError) -> Value {
    try take(MemoryLayout<Value>.size).reduce(0) { $0 << 8 | Value(truncatingIfNeeded: $1) }
  }

  mutating func prefixed() throws(FeedDecodingError) -> ArraySlice<UInt8> {
    try take(Int(try integer(UInt32.self)))
  }

  mutating func text() throws(FeedDecodingError) -> String { String(decoding: try prefixed(), as: UTF8.self) }

  mutating func uuid() throws(FeedDecodingError) -> UUID {
    let slice = try take(16)
    return slice.withUnsafeBytes { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
  }

  mutating func batch(_ historyID: UUID, _ partition: Partition) throws(FeedDecodingError) -> FeedBatch {
    let previousPosition = Position(try integer(Int64.self))
    let previousID = try uuid()
    let count = Int(try integer(UInt32.self))
    guard count > 0 else { throw FeedDecodingError(reason: "no events") }
    var events: [RecordedEvent] = []
    for _ in 0..<count { events.append(try event()) }
    return FeedBatch(
      historyID: historyID, partition: partition,
      previous: FeedBatch.Previous(position: previousPosition, eventID: previousID == .zero ? nil : previousID),
      events: events)
  }

  mutating func event() throws(FeedDecodingError) -> RecordedEvent {
    let position = Position(try integer(Int64.self))
    let version = Version(try integer(Int64.self))
    let hash = try integer(UInt16.self)
    let id = try uuid()
    let schemaVersion = Int(try integer(UInt32.self))
    let recordedAt = Timestamp(microsecondsSince1970: try integer(Int64.self))
    let stream = try text()
    guard StreamID.lengths.contains(stream.utf8.count) else { throw FeedDecodingError(reason: "stream '\(stream)'") }
    return RecordedEvent(
      position: position, stream: StreamID(rawValue: stream), version: version, hash: hash, id: id, type: try text(),
      schemaVersion: schemaVersion, data: Array(try prefixed()), metadata: Array(try prefixed()), recordedAt: recordedAt
    )
  }
}

extension UUID {
  fileprivate static let zero = UUID(uuid: (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
}

extension [UInt8] {
  fileprivate mutating func append(integer value: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
  }

  fileprivate mutating func append(_ id: UUID) {
    Swift.withUnsafeBytes(of: id.uuid) { append(contentsOf: $0) }
  }

  fileprivate mutating func append(prefixed bytes: some Collection<UInt8>) {
    append(integer: UInt32(bytes.count))
    append(contentsOf: bytes)
  }
}
