/// A one-dimensional array, as a bind parameter or a column.
///
/// This is a wrapper, not `Array` itself, because `[UInt8]` is `bytea` and not an array of bytes.
public struct PostgresArray<Element: PostgresEncodable>: PostgresEncodable {
  public static var oid: UInt32 { Element.arrayOID }
  public static var arrayOID: UInt32 { Element.arrayOID }

  public let elements: [Element]

  public init(_ elements: [Element]) { self.elements = elements }

  /// Writes the layout of `array_send`: dimensions, has-nulls, element type, length, lower bound, elements.
  public func encode(into buffer: inout [UInt8]) -> Bool {
    buffer.reserveCapacity(buffer.count + 20 + elements.count * 12)
    buffer.append(bigEndian: Int32(elements.isEmpty ? 0 : 1))
    buffer.append(bigEndian: Int32(1))
    buffer.append(bigEndian: Element.oid)
    guard !elements.isEmpty else { return true }
    buffer.append(bigEndian: Int32(elements.count))
    buffer.append(bigEndian: Int32(1))
    for element in elements {
      let start = buffer.count
      buffer.append(bigEndian: Int32(-1))
      guard element.encode(into: &buffer) else { continue }
      let length = Int32(buffer.count - start - 4)
      withUnsafeBytes(of: length.bigEndian) { buffer.replaceSubrange(start..<start + 4, with: $0) }
    }
    return true
  }
}

extension PostgresArray: PostgresDecodable where Element: PostgresDecodable {
  public init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) {
    guard let bytes, bytes.count >= 12 else { throw decodingError("an array", oid: oid, isNull: bytes == nil) }
    func integer(at offset: Int) throws(PostgresError) -> Int32 {
      guard offset + 4 <= bytes.count else { throw PostgresError(.decoding, "the array's value is cut off") }
      return Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int32.self))
    }
    let dimensions = try integer(at: 0)
    let elementOID = UInt32(bitPattern: try integer(at: 8))
    guard dimensions > 0 else {
      self.init([])
      return
    }
    guard dimensions == 1 else { throw PostgresError(.decoding, "arrays of \(dimensions) dimensions are not read") }
    var elements: [Element] = []
    var offset = 20
    for _ in 0..<(try integer(at: 12)) {
      let length = Int(try integer(at: offset))
      offset += 4
      guard length >= 0 else {
        elements.append(try Element(postgres: nil, oid: elementOID))
        continue
      }
      guard offset + length <= bytes.count else { throw PostgresError(.decoding, "the array's value is cut off") }
      elements.append(
        try Element(postgres: UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + length]), oid: elementOID))
      offset += length
    }
    self.init(elements)
  }
}

/// The bytes of a `bytea` value.
public struct PostgresBytes: PostgresEncodable, PostgresDecodable, Hashable {
  public static var oid: UInt32 { TypeOID.bytea }
  public static var arrayOID: UInt32 { 1001 }

  public let bytes: [UInt8]

  public init(_ bytes: [UInt8]) { self.bytes = bytes }

  public func encode(into buffer: inout [UInt8]) -> Bool {
    buffer.append(contentsOf: bytes)
    return true
  }

  /// Reads `bytea`, and also text and json: their UTF-8 bytes, without the copy to a `String`.
  public init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) {
    let readable = [TypeOID.bytea, TypeOID.text, TypeOID.varchar, TypeOID.json]
    guard let bytes, readable.contains(oid) else { throw decodingError("bytes", oid: oid, isNull: bytes == nil) }
    self.bytes = Array(bytes)
  }
}

/// UTF-8 text as bytes, bound as `text`: for JSON that is written and read without a `String`.
public struct PostgresText: PostgresEncodable {
  public static var oid: UInt32 { TypeOID.text }
  public static var arrayOID: UInt32 { 1009 }

  public let utf8: [UInt8]

  public init(utf8: [UInt8]) { self.utf8 = utf8 }

  public func encode(into buffer: inout [UInt8]) -> Bool {
    buffer.append(contentsOf: utf8)
    return true
  }
}
