public import FoundationEssentials

extension Bool: PostgresEncodable, PostgresDecodable {
  public static var oid: UInt32 { TypeOID.bool }
  public static var arrayOID: UInt32 { 1000 }

  public func encode(into buffer: inout [UInt8]) -> Bool {
    buffer.append(self ? 1 : 0)
    return true
  }

  public init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) {
    guard let bytes, oid == TypeOID.bool, bytes.count == 1 else {
      throw decodingError("boolean", oid: oid, isNull: bytes == nil)
    }
    self = bytes[0] != 0
  }
}

private func integer(_ bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) -> Int64 {
  let value: Int64? =
    switch oid {
    case TypeOID.int8: bytes?.bigEndian(Int64.self)
    case TypeOID.int4: bytes?.bigEndian(Int32.self).map(Int64.init)
    case TypeOID.int2: bytes?.bigEndian(Int16.self).map(Int64.init)
    default: nil
    }
  guard let value else { throw decodingError("an integer", oid: oid, isNull: bytes == nil) }
  return value
}

extension Int64: PostgresEncodable, PostgresDecodable {
  public static var oid: UInt32 { TypeOID.int8 }
  public static var arrayOID: UInt32 { 1016 }

  public func encode(into buffer: inout [UInt8]) -> Bool {
    buffer.append(bigEndian: self)
    return true
  }

  public init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) {
    self = try integer(bytes, oid: oid)
  }
}

extension Int: PostgresEncodable, PostgresDecodable {
  public static var oid: UInt32 { Int64.oid }
  public static var arrayOID: UInt32 { Int64.arrayOID }
  public func encode(into buffer: inout [UInt8]) -> Bool { Int64(self).encode(into: &buffer) }

  public init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) {
    self = Int(try integer(bytes, oid: oid))
  }
}

extension Int32: PostgresEncodable, PostgresDecodable {
  public static var oid: UInt32 { TypeOID.int4 }
  public static var arrayOID: UInt32 { 1007 }

  public func encode(into buffer: inout [UInt8]) -> Bool {
    buffer.append(bigEndian: self)
    return true
  }

  public init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) {
    guard let value = Int32(exactly: try integer(bytes, oid: oid)) else {
      throw PostgresError(.decoding, "the integer does not fit in 32 bits")
    }
    self = value
  }
}

extension Double: PostgresEncodable, PostgresDecodable {
  public static var oid: UInt32 { TypeOID.float8 }
  public static var arrayOID: UInt32 { 1022 }

  public func encode(into buffer: inout [UInt8]) -> Bool {
    buffer.append(bigEndian: bitPattern)
    return true
  }

  public init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) {
    let value: Double? =
      switch oid {
      case TypeOID.float8: bytes?.bigEndian(UInt64.self).map(Double.init(bitPattern:))
      case TypeOID.float4: bytes?.bigEndian(UInt32.self).map { Double(Float(bitPattern: $0)) }
      default: nil
      }
    guard let value else { throw decodingError("a floating-point number", oid: oid, isNull: bytes == nil) }
    self = value
  }
}

extension String: PostgresEncodable, PostgresDecodable {
  public static var oid: UInt32 { TypeOID.text }
  public static var arrayOID: UInt32 { 1009 }

  public func encode(into buffer: inout [UInt8]) -> Bool {
    buffer.append(contentsOf: utf8)
    return true
  }

  public init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) {
    let textual = [TypeOID.text, TypeOID.varchar, TypeOID.name, TypeOID.json, TypeOID.unknown]
    guard let bytes, textual.contains(oid) else { throw decodingError("text", oid: oid, isNull: bytes == nil) }
    self = String(decoding: bytes, as: UTF8.self)
  }
}

extension UUID: PostgresEncodable, PostgresDecodable {
  public static var oid: UInt32 { TypeOID.uuid }
  public static var arrayOID: UInt32 { 2951 }

  public func encode(into buffer: inout [UInt8]) -> Bool {
    withUnsafeBytes(of: uuid) { buffer.append(contentsOf: $0) }
    return true
  }

  public init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) {
    guard let bytes, oid == TypeOID.uuid, bytes.count == 16 else {
      throw decodingError("uuid", oid: oid, isNull: bytes == nil)
    }
    self.init(uuid: bytes.loadUnaligned(as: uuid_t.self))
  }
}

/// A point in time as PostgreSQL stores it: whole microseconds since 2000-01-01T00:00:00Z.
public struct PostgresTimestamp: PostgresEncodable, PostgresDecodable, Hashable {
  public static var oid: UInt32 { TypeOID.timestamptz }
  public static var arrayOID: UInt32 { 1185 }
  private static let epochOffset: Int64 = 946_684_800_000_000

  /// Microseconds since 1970-01-01T00:00:00Z, without leap seconds.
  public let microsecondsSince1970: Int64

  public init(microsecondsSince1970: Int64) { self.microsecondsSince1970 = microsecondsSince1970 }

  public func encode(into buffer: inout [UInt8]) -> Bool {
    let (value, overflows) = microsecondsSince1970.subtractingReportingOverflow(Self.epochOffset)
    // PostgreSQL's '-infinity', which is also earlier than all other times.
    buffer.append(bigEndian: overflows ? Int64.min : value)
    return true
  }

  public init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) {
    guard let value = bytes?.bigEndian(Int64.self), oid == TypeOID.timestamptz else {
      throw decodingError("timestamptz", oid: oid, isNull: bytes == nil)
    }
    let (sum, overflows) = value.addingReportingOverflow(Self.epochOffset)
    guard !overflows else { throw PostgresError(.decoding, "the time is infinite, or beyond the year 294,000") }
    microsecondsSince1970 = sum
  }
}
