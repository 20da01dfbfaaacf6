// An enum with associated values is coded as a name and data. The name is the case's, or the raw value of its
// `CodingKeys`. The data are the labels and values, or the one value without a label.
//
//     case sent(to: String, amount: Int64)          sent, {"to":…,"amount":…}
//     case opened(AccountOpened)                    opened, the JSON of AccountOpened
//     case closed                                   closed, {}

extension JSONWriter {
  /// Writes the data of an enum's case as an object.
  /// - Returns: the case's name.
  /// - Throws: the errors of `write(encoding:)`; `EncodingError` also if the value is not an enum with synthesised
  ///   coding, or if its data are not an object.
  public mutating func write(caseOf value: some Encodable) throws -> String {
    let encoder = JSONCaseEncoder()
    swap(&self, &encoder.stream.writer)
    defer { swap(&self, &encoder.stream.writer) }
    return try encoder.encode(value)
  }
}

extension JSON {
  /// Reads a case of an enum from its data.
  /// - Parameters:
  ///   - type: the enum.
  ///   - name: the name that `JSONWriter.write(caseOf:)` returned.
  /// - Returns: nil if the enum has no such case.
  /// - Throws: `JSONDecodingError` with the place in the data.
  public func decode<Value: Decodable>(
    _ type: Value.Type = Value.self, case name: String
  ) throws(JSONDecodingError) -> Value? {
    do { return try Value(from: JSONCaseDecoding(name: name, data: self)) } catch is NoSuchCase { return nil } catch {
      throw JSONDecodingError(any: error)
    }
  }
}

extension JSON {
  /// Returns the names of an enum's cases; nil if its `CodingKeys` are not `CaseIterable`.
  public static func caseNames<Value: Decodable>(of _: Value.Type) -> [String]? {
    let names = JSONCaseNames()
    // Always throws: it only asks for the keys.
    _ = try? Value(from: names)
    return names.found
  }
}

private struct NoSuchCase: Error {}

private final class JSONCaseNames: Decoder {
  private(set) var found: [String]?

  var codingPath: [any CodingKey] { [] }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key>(keyedBy _: Key.Type) throws -> KeyedDecodingContainer<Key> {
    found = (Key.self as? any CaseIterable.Type).map { Self.names($0) }
    throw NoSuchCase()
  }
  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { throw NoSuchCase() }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { throw NoSuchCase() }

  private static func names<Keys: CaseIterable>(_: Keys.Type) -> [String] {
    Keys.allCases.compactMap { ($0 as? any CodingKey)?.stringValue }
  }
}

private final class JSONCaseEncoder: Encoder {
  let stream = JSONStream(absentAsNull: false)
  private var name: String?

  var codingPath: [any CodingKey] { [] }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    KeyedEncodingContainer(Cases<Key>(encoder: self))
  }
  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    stream.failure = wrong("is no enum with associated values")
    return JSONValueEncoder(stream: stream, depth: 0).unkeyedContainer()
  }
  func singleValueContainer() -> any SingleValueEncodingContainer {
    stream.failure = wrong("is no enum with associated values")
    return JSONValueEncoder(stream: stream, depth: 0)
  }

  func encode(_ value: some Encodable) throws -> String {
    let before = stream.writer.bytes.count
    try value.encode(to: self)
    try stream.close(to: 0)
    try stream.end()
    guard let name else { throw wrong("has no case with a name") }
    if stream.writer.bytes.count == before { stream.writer.object { _ in } }
    return name
  }

  func wrong(_ what: String) -> EncodingError {
    .invalidValue(name ?? "", .init(codingPath: [], debugDescription: "an event \(name ?? "") \(what)"))
  }

  private struct Cases<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let encoder: JSONCaseEncoder

    var codingPath: [any CodingKey] { [] }

    func nestedContainer<Nested>(keyedBy: Nested.Type, forKey key: Key) -> KeyedEncodingContainer<Nested> {
      encoder.name = key.stringValue
      return KeyedEncodingContainer(Labels<Nested>(encoder: encoder))
    }

    // A hand-written `encode(to:)` that does anything else does not encode an enum's case.
    func encodeNil(forKey key: Key) throws { throw encoder.wrong("is no enum with associated values") }
    func encode(_ value: some Encodable, forKey key: Key) throws {
      throw encoder.wrong("is no enum with associated values")
    }
    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer { encoder.unkeyedContainer() }
    func superEncoder() -> any Encoder { encoder }
    func superEncoder(forKey key: Key) -> any Encoder { encoder }
  }

  /// The labels of a case, or its only value without a label, whose key is `_0`.
  private struct Labels<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let encoder: JSONCaseEncoder

    var codingPath: [any CodingKey] { [] }

    private func labelled(_ key: Key) throws -> JSONObjectEncoder<Key> {
      guard !key.stringValue.hasPrefix("_") else { throw encoder.wrong("has values without labels") }
      let stream = encoder.stream
      if stream.depth == 0 { stream.begin(UInt8(ascii: "{")) }
      return JSONObjectEncoder(stream: stream, depth: 1)
    }

    func encode<Value: Encodable>(_ value: Value, forKey key: Key) throws {
      guard key.stringValue == "_0" else { return try labelled(key).encode(value, forKey: key) }
      let stream = encoder.stream
      let start = stream.writer.bytes.count
      try stream.write(value)
      guard stream.writer.bytes.count > start, stream.writer.bytes[start] == UInt8(ascii: "{") else {
        throw encoder.wrong("has a value without a label that is no object")
      }
    }
    func encode(_ value: String, forKey key: Key) throws { try labelled(key).encode(value, forKey: key) }
    func encode(_ value: Bool, forKey key: Key) throws { try labelled(key).encode(value, forKey: key) }
    func encode(_ value: Double, forKey key: Key) throws { try labelled(key).encode(value, forKey: key) }
    func encode(_ value: Float, forKey key: Key) throws { try labelled(key).encode(value, forKey: key) }
    func encode(_ value: some FixedWidthInteger & Encodable, forKey key: Key) throws {
      try labelled(key).encode(value, forKey: key)
    }
    func encodeNil(forKey key: Key) throws { try labelled(key).encodeNil(forKey: key) }

    func nestedContainer<Nested>(keyedBy type: Nested.Type, forKey key: Key) -> KeyedEncodingContainer<Nested> {
      superEncoder(forKey: key).container(keyedBy: type)
    }
    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
      superEncoder(forKey: key).unkeyedContainer()
    }
    func superEncoder() -> any Encoder {
      encoder.stream.failure = encoder.wrong("is no enum with associated values")
      return JSONValueEncoder(stream: encoder.stream, depth: 0)
    }
    func superEncoder(forKey key: Key) -> any Encoder {
      do { return try labelled(key).superEncoder(forKey: key) } catch {
        encoder.stream.failure = error
        return JSONValueEncoder(stream: encoder.stream, depth: 0)
      }
    }
  }
}

private struct JSONCaseDecoding: Decoder {
  let name: String
  let data: JSON

  var codingPath: [any CodingKey] { [] }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    guard let key = Key(stringValue: name) else { throw NoSuchCase() }
    return KeyedDecodingContainer(Cases(key: key, data: data))
  }
  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { throw Self.noEnum }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { throw Self.noEnum }

  private static let noEnum = JSONDecodingError(pointer: "", reason: "the event is no enum with associated values")

  /// A container with the one case that was read.
  private struct Cases<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let key: Key
    let data: JSON

    var codingPath: [any CodingKey] { [] }
    var allKeys: [Key] { [key] }

    func contains(_ key: Key) -> Bool { key.stringValue == self.key.stringValue }

    func nestedContainer<Nested>(keyedBy type: Nested.Type, forKey key: Key) throws -> KeyedDecodingContainer<Nested> {
      KeyedDecodingContainer(Labels(labels: try JSONDecoding(data).object()))
    }

    func decodeNil(forKey key: Key) throws -> Bool { throw noEnum }
    func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value { throw noEnum }
    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer { throw noEnum }
    func superDecoder() throws -> any Decoder { throw noEnum }
    func superDecoder(forKey key: Key) throws -> any Decoder { throw noEnum }
  }

  private struct Labels<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let labels: JSONObjectDecoding<Key>

    var codingPath: [any CodingKey] { [] }
    var allKeys: [Key] { labels.allKeys }

    func contains(_ key: Key) -> Bool { labels.contains(key) }

    func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
      key.stringValue == "_0" ? try labels.decoding.decode() : try labels.decode(type, forKey: key)
    }
    func decode(_ type: String.Type, forKey key: Key) throws -> String { try labels.decode(type, forKey: key) }
    func decodeIfPresent(_ type: String.Type, forKey key: Key) throws -> String? {
      try labels.decodeIfPresent(type, forKey: key)
    }
    func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool { try labels.decode(type, forKey: key) }
    func decode(_ type: Double.Type, forKey key: Key) throws -> Double { try labels.decode(type, forKey: key) }
    func decode(_ type: Float.Type, forKey key: Key) throws -> Float { try labels.decode(type, forKey: key) }
    func decode<Number: FixedWidthInteger & Decodable>(_ type: Number.Type, forKey key: Key) throws -> Number {
      try labels.decode(type, forKey: key)
    }
    func decodeNil(forKey key: Key) throws -> Bool { try labels.decodeNil(forKey: key) }
    func nestedContainer<Nested>(keyedBy type: Nested.Type, forKey key: Key) throws -> KeyedDecodingContainer<Nested> {
      try labels.nestedContainer(keyedBy: type, forKey: key)
    }
    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
      try labels.nestedUnkeyedContainer(forKey: key)
    }
    func superDecoder() throws -> any Decoder { try labels.superDecoder() }
    func superDecoder(forKey key: Key) throws -> any Decoder { try labels.superDecoder(forKey: key) }
  }
}
