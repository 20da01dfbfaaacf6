/// The reason why a type cannot be read from a JSON value, and the place.
public struct JSONDecodingError: Error, Sendable, Hashable, CustomStringConvertible {
  /// A JSON pointer (RFC 6901); empty for the whole value.
  public let pointer: String
  /// What is wrong, in words, such as `must be a string`.
  public let reason: String

  public var description: String { pointer.isEmpty ? reason : "\(pointer): \(reason)" }
}

extension JSON {
  /// Reads a value with its `init(from:)`. Members that it does not read are ignored.
  /// - Throws: `JSONDecodingError` for the first value that is missing or wrong.
  public func decode<Value: Decodable>(_ type: Value.Type = Value.self) throws(JSONDecodingError) -> Value {
    do { return try JSONDecoding(self).decode() } catch { throw JSONDecodingError(any: error) }
  }
}

extension JSONDecodingError {
  /// Converts an error that a type's `init(from:)` has thrown.
  init(any error: any Error) {
    if let error = error as? JSONDecodingError {
      self = error
    } else if let error = error as? DecodingError {
      self.init(error)
    } else {
      self.init(pointer: "", reason: "\(error)")
    }
  }

  private init(_ error: DecodingError) {
    switch error {
    case .typeMismatch(_, let context), .dataCorrupted(let context):
      self.init(pointer: jsonPointer(context.codingPath), reason: context.debugDescription)
    case .valueNotFound(_, let context):
      self.init(pointer: jsonPointer(context.codingPath), reason: "is missing")
    case .keyNotFound(let key, let context):
      self.init(pointer: jsonPointer(context.codingPath + [key]), reason: "is missing")
    @unknown default: self.init(pointer: "", reason: "\(error)")
    }
  }
}

extension JSONDecodingError {
  /// - Parameter path: the names of members, from the outside in.
  init(at path: [String], _ reason: String) {
    self.init(pointer: jsonPointer(path.map(MemberName.init)), reason: reason)
  }
}

private func jsonPointer(_ keys: [any CodingKey]) -> String {
  keys.map { key in
    "/" + (key.intValue.map(String.init) ?? key.stringValue.replacing("~", with: "~0").replacing("/", with: "~1"))
  }.joined()
}

/// The reason why a value is not of the requested kind.
struct JSONMismatch: Error {
  let reason: String
}

extension JSON {
  private func mismatch(_ wanted: String) -> JSONMismatch { JSONMismatch(reason: "must be \(wanted), not \(kind)") }

  func asString() throws(JSONMismatch) -> String {
    guard case .string(let text) = self else { throw mismatch("a string") }
    return text
  }

  func asBool() throws(JSONMismatch) -> Bool {
    guard case .boolean(let value) = self else { throw mismatch("true or false") }
    return value
  }

  func asDouble() throws(JSONMismatch) -> Double {
    switch self {
    case .integer(let whole): return Double(whole)
    case .number(let number): return number
    default: throw mismatch("a number")
    }
  }

  func asInteger<Number: FixedWidthInteger>() throws(JSONMismatch) -> Number {
    guard let whole = wholeNumber else {
      switch self {
      case .integer, .number: throw JSONMismatch(reason: "must be a whole number that fits in 64 bits")
      default: throw mismatch("a whole number")
      }
    }
    guard let number = Number(exactly: whole) else {
      throw JSONMismatch(reason: "must be from \(Number.min) to \(Number.max)")
    }
    return number
  }

  func asMembers() throws(JSONMismatch) -> [JSON.Member] {
    guard case .object(let members) = self else { throw mismatch("an object") }
    return members
  }

  func asElements() throws(JSONMismatch) -> [JSON] {
    guard case .array(let elements) = self else { throw mismatch("an array") }
    return elements
  }
}

/// Decodes one value, and knows its place in the whole.
final class JSONDecoding: Decoder, SingleValueDecodingContainer {
  let value: JSON
  private let parent: JSONDecoding?
  private let key: (any CodingKey)?
  /// Collects every mistake; nil if the first mistake ends the decoding.
  let findings: JSONFindings?

  init(_ value: JSON, findings: JSONFindings? = nil) {
    (self.value, parent, key, self.findings) = (value, nil, nil, findings)
  }

  init(_ value: JSON, in parent: JSONDecoding, at key: any CodingKey) {
    (self.value, self.parent, self.key, findings) = (value, parent, key, parent.findings)
  }

  var codingPath: [any CodingKey] { (parent?.codingPath ?? []) + (key.map { [$0] } ?? []) }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func error(_ reason: String, at key: (any CodingKey)? = nil) -> JSONDecodingError {
    JSONDecodingError(pointer: jsonPointer(codingPath + (key.map { [$0] } ?? [])), reason: reason)
  }

  private func read<Value>(_ read: (JSON) throws(JSONMismatch) -> Value) throws(JSONDecodingError) -> Value {
    do { return try read(value) } catch { throw self.error(error.reason) }
  }

  func object<Key>() throws -> JSONObjectDecoding<Key> {
    JSONObjectDecoding(members: try read { json throws(JSONMismatch) in try json.asMembers() }, decoding: self)
  }

  func container<Key>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    KeyedDecodingContainer(try object())
  }

  func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
    JSONArrayDecoding(try read { j throws(JSONMismatch) in try j.asElements() }, self)
  }

  func singleValueContainer() -> any SingleValueDecodingContainer { self }

  func decode<Value: Decodable>() throws -> Value {
    try Value(from: self)
  }

  func decodeNil() -> Bool { value.isNull }
  func decode(_ type: Bool.Type) throws -> Bool { try read { j throws(JSONMismatch) in try j.asBool() } }
  func decode(_ type: String.Type) throws -> String { try read { j throws(JSONMismatch) in try j.asString() } }
  func decode(_ type: Double.Type) throws -> Double { try read { j throws(JSONMismatch) in try j.asDouble() } }
  func decode(_ type: Float.Type) throws -> Float { Float(try decode(Double.self)) }
  func decode<Number: FixedWidthInteger & Decodable>(_ type: Number.Type) throws -> Number {
    try read { j throws(JSONMismatch) in try j.asInteger() }
  }
  func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try decode() }
}

struct JSONObjectDecoding<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let members: [JSON.Member]
  let decoding: JSONDecoding
  /// The index of each member, if there are many, as in a dictionary.
  private let places: [String: Int]?

  init(members: [JSON.Member], decoding: JSONDecoding) {
    (self.members, self.decoding) = (members, decoding)
    places = members.count < 16 ? nil : Dictionary(zip(members.map(\.name), members.indices)) { first, _ in first }
  }

  var codingPath: [any CodingKey] { decoding.codingPath }
  var allKeys: [Key] { members.compactMap { Key(stringValue: $0.name) } }

  private func value(_ key: some CodingKey) -> JSON? {
    let name = key.stringValue
    decoding.findings?.asked(name, of: decoding)
    if let places { return places[name].map { members[$0].value } }
    return members.first { $0.name == name }?.value
  }

  func contains(_ key: Key) -> Bool { value(key) != nil }

  private func read<Value: Decodable>(
    _ key: Key, _ read: (JSON) throws(JSONMismatch) -> Value
  ) throws -> Value {
    guard let value = value(key) else { return try instead(of: decoding.error("is missing", at: key)) }
    do { return try read(value) } catch { return try instead(of: decoding.error(error.reason, at: key)) }
  }

  private func instead<Value: Decodable>(of error: any Error) throws -> Value {
    guard let findings = decoding.findings else { throw error }
    return try findings.example(for: error, Value.self)
  }

  private func at(_ key: some CodingKey) throws -> JSONDecoding {
    guard let value = value(key) else { throw decoding.error("is missing", at: key) }
    return JSONDecoding(value, in: decoding, at: key)
  }

  func decodeNil(forKey key: Key) throws -> Bool { try read(key) { j in j.isNull } }
  func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool {
    try read(key) { j throws(JSONMismatch) in try j.asBool() }
  }
  func decode(_ type: String.Type, forKey key: Key) throws -> String {
    try read(key) { j throws(JSONMismatch) in try j.asString() }
  }
  func decode(_ type: Double.Type, forKey key: Key) throws -> Double {
    try read(key) { j throws(JSONMismatch) in try j.asDouble() }
  }
  func decode(_ type: Float.Type, forKey key: Key) throws -> Float { Float(try decode(Double.self, forKey: key)) }
  func decode<Number: FixedWidthInteger & Decodable>(_ type: Number.Type, forKey key: Key) throws -> Number {
    try read(key) { j throws(JSONMismatch) in try j.asInteger() }
  }
  func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
    do { return try at(key).decode() } catch { return try instead(of: error) }
  }

  // The same as the library's default, with only one lookup.
  func decodeIfPresent(_ type: String.Type, forKey key: Key) throws -> String? {
    guard let value = value(key), !value.isNull else { return nil }
    do { return try value.asString() } catch { return try instead(of: decoding.error(error.reason, at: key)) }
  }

  func nestedContainer<Nested>(keyedBy type: Nested.Type, forKey key: Key) throws -> KeyedDecodingContainer<Nested> {
    try at(key).container(keyedBy: type)
  }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer { try at(key).unkeyedContainer() }
  func superDecoder() throws -> any Decoder { try at(MemberName("super")) }
  func superDecoder(forKey key: Key) throws -> any Decoder { try at(key) }
}

struct JSONArrayDecoding: UnkeyedDecodingContainer {
  private let elements: [JSON]
  private let decoding: JSONDecoding
  private(set) var currentIndex = 0

  init(_ elements: [JSON], _ decoding: JSONDecoding) { (self.elements, self.decoding) = (elements, decoding) }

  var codingPath: [any CodingKey] { decoding.codingPath }
  var count: Int? { elements.count }
  var isAtEnd: Bool { currentIndex >= elements.count }

  /// If an element cannot be read, it stays the next one.
  private mutating func next<Value>(_ read: (JSONDecoding) throws -> Value) throws -> Value {
    let index = ElementIndex(currentIndex)
    guard !isAtEnd else { throw decoding.error("is missing", at: index) }
    let value = try read(JSONDecoding(elements[currentIndex], in: decoding, at: index))
    currentIndex += 1
    return value
  }

  private mutating func nextValue<Value: Decodable>(_ read: (JSONDecoding) throws -> Value) throws -> Value {
    do { return try next(read) } catch {
      guard let findings = decoding.findings, !isAtEnd else { throw error }
      currentIndex += 1
      return try findings.example(for: error, Value.self)
    }
  }

  mutating func decodeNil() throws -> Bool {
    guard !isAtEnd, elements[currentIndex].isNull else { return false }
    currentIndex += 1
    return true
  }
  mutating func decode(_ type: Bool.Type) throws -> Bool { try nextValue { try $0.decode(type) } }
  mutating func decode(_ type: String.Type) throws -> String { try nextValue { try $0.decode(type) } }
  mutating func decode(_ type: Double.Type) throws -> Double { try nextValue { try $0.decode(type) } }
  mutating func decode(_ type: Float.Type) throws -> Float { try nextValue { try $0.decode(type) } }
  mutating func decode<Number: FixedWidthInteger & Decodable>(_ type: Number.Type) throws -> Number {
    try nextValue { try $0.decode(type) }
  }
  mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try nextValue { try $0.decode() } }

  mutating func nestedContainer<Nested>(keyedBy type: Nested.Type) throws -> KeyedDecodingContainer<Nested> {
    try next { try $0.container(keyedBy: type) }
  }
  mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
    try next { try $0.unkeyedContainer() }
  }
  mutating func superDecoder() throws -> any Decoder { try next { $0 } }
}

/// The coding key of an array's element.
private struct ElementIndex: CodingKey {
  let index: Int

  var stringValue: String { String(index) }
  var intValue: Int? { index }

  init(_ index: Int) { self.index = index }
  init?(stringValue: String) { nil }
  init?(intValue: Int) { index = intValue }
}
