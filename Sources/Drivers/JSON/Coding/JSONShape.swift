/// The values that a type's `init(from:)` reads, found by decoding the type from examples.
public indirect enum JSONShape: Sendable, Hashable {
  /// A member of an object.
  public struct Member: Sendable, Hashable {
    /// The member's name.
    public let name: String
    /// The shape of the member's value.
    public let shape: JSONShape
    /// Whether the member may be absent or null.
    public let isOptional: Bool

    /// Creates a member.
    public init(name: String, shape: JSONShape, isOptional: Bool) {
      (self.name, self.shape, self.isOptional) = (name, shape, isOptional)
    }
  }

  /// The format of a string, as named in JSON Schema.
  public enum Format: String, Sendable {
    /// A UUID (RFC 9562).
    case uuid
    /// A day, such as `2026-11-21`.
    case date
    /// A time with its offset from UTC (RFC 3339).
    case time = "date-time"
  }

  /// Any string.
  case string
  /// A whole number.
  case integer
  /// Any number.
  case number
  /// `true` or `false`.
  case boolean
  /// A string of that format.
  case formatted(Format)
  /// One of these strings.
  case choice([String])
  /// An array whose elements have this shape.
  case array(of: JSONShape)
  /// An object with these members, in the order in which the type reads them.
  case object([Member])
  /// The shape could not be determined: the type contains itself, or checks the values that it reads.
  case unknown

  /// Finds the shape of a type by decoding it from examples.
  /// - Parameter type: The type. Its `init(from:)` runs several times.
  public init(of type: any Decodable.Type) { self = JSONProbe.probe(type).shape }
}

/// Replaces data that is missing or wrong: makes a value of any type that accepts one of a few examples.
enum JSONProbe {
  static func probe<Value: Decodable>(_ type: Value.Type) -> (value: Value?, shape: JSONShape) {
    probe(type, within: [])
  }

  /// - Parameter types: the types that are being read; a type that contains itself is not followed further.
  fileprivate static func probe<Value: Decodable>(
    _ type: Value.Type, within types: [ObjectIdentifier]
  ) -> (value: Value?, shape: JSONShape) {
    if let cases = (type as? any CaseIterable.Type).map({ values($0) }), let first = cases.first as? Value {
      let names = cases.compactMap { ($0 as? any RawRepresentable)?.rawValue as? String }
      if names.count == cases.count { return (first, .choice(names)) }
    }
    guard !types.contains(ObjectIdentifier(type)) else { return (nil, .unknown) }
    var shape = JSONShape.unknown
    for example in ProbeExample.all {
      let decoder = ProbeDecoder(example: example, types: types + [ObjectIdentifier(type)])
      let value = try? Value(from: decoder)
      shape = decoder.found.shape
      if shape == .string, value != nil, let format = example.format { shape = .formatted(format) }
      // A type without members reads nothing.
      if value != nil, shape == .unknown { shape = .object([]) }
      if value != nil { return (value, shape) }
    }
    return (nil, shape)
  }

  private static func values<Cases: CaseIterable>(_ type: Cases.Type) -> [Any] { Array(type.allCases) }
}

/// An example for types that check their input.
private struct ProbeExample {
  let text: String
  let number: Int
  /// The format of a type that accepts this example and none before it.
  var format: JSONShape.Format?

  static let all = [
    ProbeExample(text: "", number: 0), ProbeExample(text: "a", number: 1),
    ProbeExample(text: "00000000-0000-0000-0000-000000000000", number: 0, format: .uuid),
    ProbeExample(text: "2000-01-01T00:00:00Z", number: 0, format: .time),
    ProbeExample(text: "2000-01-01", number: 0, format: .date),
    ProbeExample(text: "a@example.com", number: 0), ProbeExample(text: "https://example.com", number: 0),
    ProbeExample(text: "ABC", number: 0),
  ]
}

/// The type accepts no example.
private struct NoExample: Error {}

private final class ProbeFound {
  var shape = JSONShape.unknown
}

private struct ProbeDecoder: Decoder, SingleValueDecodingContainer {
  let example: ProbeExample
  let types: [ObjectIdentifier]
  let found = ProbeFound()

  var codingPath: [any CodingKey] { [] }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key>(keyedBy: Key.Type) -> KeyedDecodingContainer<Key> {
    if case .object = found.shape {} else { found.shape = .object([]) }
    return KeyedDecodingContainer(Members<Key>(found: found, types: types))
  }
  func unkeyedContainer() -> any UnkeyedDecodingContainer {
    found.shape = .array(of: .unknown)
    return Elements(found: found, types: types)
  }
  func singleValueContainer() -> any SingleValueDecodingContainer { self }

  private func plain<Value>(_ value: Value, _ shape: JSONShape) -> Value {
    found.shape = shape
    return value
  }

  func decodeNil() -> Bool { false }
  func decode(_: Bool.Type) -> Bool { plain(false, .boolean) }
  func decode(_: String.Type) -> String { plain(example.text, .string) }
  func decode(_: Double.Type) -> Double { plain(Double(example.number), .number) }
  func decode(_: Float.Type) -> Float { plain(Float(example.number), .number) }
  func decode<Number: FixedWidthInteger & Decodable>(_: Number.Type) -> Number {
    plain(Number(example.number), .integer)
  }
  func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
    let (value, shape) = JSONProbe.probe(type, within: types)
    found.shape = shape
    guard let value else { throw NoExample() }
    return value
  }

  private struct Members<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let found: ProbeFound
    let types: [ObjectIdentifier]

    var codingPath: [any CodingKey] { [] }
    var allKeys: [Key] { [] }

    private func note(_ key: some CodingKey, _ shape: JSONShape, isOptional: Bool) {
      guard case .object(var members) = found.shape else { return }
      members.removeAll { $0.name == key.stringValue }
      members.append(JSONShape.Member(name: key.stringValue, shape: shape, isOptional: isOptional))
      found.shape = .object(members)
    }

    func contains(_: Key) -> Bool { true }
    func decodeNil(forKey: Key) -> Bool { false }

    func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
      let (value, shape) = JSONProbe.probe(type, within: types)
      note(key, shape, isOptional: false)
      guard let value else { throw NoExample() }
      return value
    }
    // One method for each type: the library's defaults would ask for a required member.
    func decodeIfPresent(_ type: Bool.Type, forKey key: Key) -> Bool? { optional(type, key) }
    func decodeIfPresent(_ type: String.Type, forKey key: Key) -> String? { optional(type, key) }
    func decodeIfPresent(_ type: Double.Type, forKey key: Key) -> Double? { optional(type, key) }
    func decodeIfPresent(_ type: Float.Type, forKey key: Key) -> Float? { optional(type, key) }
    func decodeIfPresent<Number: FixedWidthInteger & Decodable>(_ type: Number.Type, forKey key: Key) -> Number? {
      optional(type, key)
    }
    func decodeIfPresent<Value: Decodable>(_ type: Value.Type, forKey key: Key) -> Value? { optional(type, key) }

    private func optional<Value: Decodable>(_ type: Value.Type, _ key: Key) -> Value? {
      note(key, JSONProbe.probe(type, within: types).shape, isOptional: true)
      return nil
    }

    func nestedContainer<Nested>(keyedBy type: Nested.Type, forKey key: Key) throws -> KeyedDecodingContainer<Nested> {
      note(key, .unknown, isOptional: false)
      throw NoExample()
    }
    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
      note(key, .unknown, isOptional: false)
      throw NoExample()
    }
    func superDecoder() throws -> any Decoder { throw NoExample() }
    func superDecoder(forKey key: Key) throws -> any Decoder { throw NoExample() }
  }

  /// An array with one element.
  private struct Elements: UnkeyedDecodingContainer {
    let found: ProbeFound
    let types: [ObjectIdentifier]

    var codingPath: [any CodingKey] { [] }
    var count: Int? { nil }
    private(set) var currentIndex = 0
    var isAtEnd: Bool { currentIndex > 0 }

    init(found: ProbeFound, types: [ObjectIdentifier]) { (self.found, self.types) = (found, types) }

    mutating func decodeNil() -> Bool { false }
    mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
      currentIndex += 1
      let (value, shape) = JSONProbe.probe(type, within: types)
      found.shape = .array(of: shape)
      guard let value else { throw NoExample() }
      return value
    }
    mutating func nestedContainer<Nested>(keyedBy: Nested.Type) throws -> KeyedDecodingContainer<Nested> {
      throw NoExample()
    }
    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer { throw NoExample() }
    mutating func superDecoder() throws -> any Decoder { throw NoExample() }
  }
}
