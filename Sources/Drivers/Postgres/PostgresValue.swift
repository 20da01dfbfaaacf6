/// A Swift type that can be a bind parameter, in PostgreSQL's binary format.
public protocol PostgresEncodable: Sendable {
  /// The type's object id in `pg_type`.
  static var oid: UInt32 { get }
  /// The object id of the type's array type.
  static var arrayOID: UInt32 { get }
  /// Appends the binary form to `buffer`. For NULL it returns false and appends nothing.
  func encode(into buffer: inout [UInt8]) -> Bool
}

/// A Swift type that can be read from a column in binary format.
public protocol PostgresDecodable: Sendable {
  /// - Parameters:
  ///   - bytes: the column's value; nil for NULL.
  ///   - oid: the column's type.
  init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError)
}

/// One bind parameter: its type and its bytes, nil for NULL.
public struct PostgresValue: Sendable {
  public let oid: UInt32
  public let bytes: [UInt8]?
  let isText: Bool

  public init(_ value: some PostgresEncodable) {
    var buffer: [UInt8] = []
    let isNotNull = value.encode(into: &buffer)
    (oid, bytes, isText) = (type(of: value).oid, isNotNull ? buffer : nil, false)
  }

  private init(untyped text: String) { (oid, bytes, isText) = (0, Array(text.utf8), true) }

  /// Returns a parameter in text format whose type the server infers from its place in the SQL, as for `psql`. It is
  /// for types without a Swift counterpart in this module.
  public static func untyped(_ text: String) -> PostgresValue { PostgresValue(untyped: text) }
}

enum TypeOID {
  static let bool: UInt32 = 16
  static let bytea: UInt32 = 17
  static let name: UInt32 = 19
  static let int8: UInt32 = 20
  static let int2: UInt32 = 21
  static let int4: UInt32 = 23
  static let text: UInt32 = 25
  static let json: UInt32 = 114
  static let float4: UInt32 = 700
  static let float8: UInt32 = 701
  static let unknown: UInt32 = 705
  static let varchar: UInt32 = 1043
  static let timestamptz: UInt32 = 1184
  static let uuid: UInt32 = 2950
}

extension [UInt8] {
  @inlinable
  mutating func append(bigEndian value: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
  }
}

func decodingError(_ expected: String, oid: UInt32, isNull: Bool) -> PostgresError {
  let found = isNull ? "NULL" : "a value of type oid \(oid)"
  return PostgresError(.decoding, "expected \(expected), found \(found); cast it in the SQL")
}

extension UnsafeRawBufferPointer {
  func bigEndian<Value: FixedWidthInteger>(_: Value.Type) -> Value? {
    count == MemoryLayout<Value>.size ? Value(bigEndian: loadUnaligned(as: Value.self)) : nil
  }
}

extension Optional: PostgresEncodable where Wrapped: PostgresEncodable {
  public static var oid: UInt32 { Wrapped.oid }
  public static var arrayOID: UInt32 { Wrapped.arrayOID }
  public func encode(into buffer: inout [UInt8]) -> Bool { self?.encode(into: &buffer) ?? false }
}

extension Optional: PostgresDecodable where Wrapped: PostgresDecodable {
  public init(postgres bytes: UnsafeRawBufferPointer?, oid: UInt32) throws(PostgresError) {
    self = bytes == nil ? nil : try Wrapped(postgres: bytes, oid: oid)
  }
}
