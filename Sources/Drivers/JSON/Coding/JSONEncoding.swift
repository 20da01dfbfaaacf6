extension JSONWriter {
  /// Writes a value as its `encode(to:)` describes it, with members in that order.
  /// - Parameters:
  ///   - value: the value to write.
  ///   - absentAsNull: whether absent optionals are written as null; they are omitted otherwise.
  /// - Throws: the errors of `encode(to:)`; `EncodingError` for numbers that JSON cannot express (NaN, infinities,
  ///   beyond 64 bits with sign), text with U+0000, nesting beyond `JSON.maximumDepth`, and writes to a container after
  ///   its parent continued.
  public mutating func write(encoding value: some Encodable, absentAsNull: Bool = false) throws {
    let stream = JSONStream(absentAsNull: absentAsNull)
    swap(&self, &stream.writer)
    defer { swap(&self, &stream.writer) }
    try stream.write(value)
    try stream.end()
  }

  /// Returns a value as JSON; see `write(encoding:absentAsNull:)`.
  public static func bytes(encoding value: some Encodable, absentAsNull: Bool = false) throws -> [UInt8] {
    var json = JSONWriter()
    try json.write(encoding: value, absentAsNull: absentAsNull)
    return json.bytes
  }
}

/// The output of encoders and their containers, without a tree. Open containers close when a container around them
/// continues.
final class JSONStream {
  // One thread, no overlapping accesses: checking for them at run time took a sixth of the time (perf).
  @exclusivity(unchecked) var writer = JSONWriter(reserving: 0)
  /// The number of open containers.
  @exclusivity(unchecked) private(set) var depth = 0
  /// Which open containers are arrays; the lowest bit is the innermost.
  @exclusivity(unchecked) private var arrays: UInt64 = 0
  /// An error from a method that cannot throw.
  var failure: (any Error)?
  let absentAsNull: Bool

  init(absentAsNull: Bool) { self.absentAsNull = absentAsNull }

  func begin(_ bracket: UInt8) {
    if depth == JSON.maximumDepth { failure = failure ?? Self.wrong("nested deeper than \(JSON.maximumDepth)") }
    writer.begin(bracket)
    arrays = arrays << 1 | (bracket == UInt8(ascii: "[") ? 1 : 0)
    depth += 1
  }

  /// Closes all containers deeper than `depth`.
  /// - Throws: `EncodingError` if the container at `depth` is closed too.
  func close(to depth: Int) throws {
    guard self.depth >= depth else {
      throw Self.wrong("a container was written to after the one around it had gone on")
    }
    while self.depth > depth {
      writer.end(arrays & 1 == 1 ? UInt8(ascii: "]") : UInt8(ascii: "}"))
      arrays >>= 1
      self.depth -= 1
    }
  }

  private static func wrong(_ reason: String, _ value: Any = "") -> EncodingError {
    .invalidValue(value, .init(codingPath: [], debugDescription: reason))
  }

  func end() throws {
    if let failure { throw failure }
    guard !writer.hasNUL else { throw Self.wrong("U+0000 cannot be stored") }
  }

  func write(_ value: some Encodable) throws {
    let (depth, before) = (depth, writer.bytes.count)
    try value.encode(to: JSONValueEncoder(stream: self, depth: depth))
    try close(to: depth)
    // The value wrote nothing.
    if writer.bytes.count == before { writer.object { _ in } }
  }

  func write(number: Double) throws {
    guard number.isFinite else { throw Self.wrong("\(number) is no JSON number", number) }
    writer.write(JSON.number(number))
  }

  func write<Number: FixedWidthInteger>(whole number: Number) throws {
    guard let number = Int64(exactly: number) else {
      throw Self.wrong("\(number) does not fit in 64 bits with a sign", number)
    }
    writer.write(number)
  }
}

/// Encodes one value.
struct JSONValueEncoder: Encoder, SingleValueEncodingContainer {
  let stream: JSONStream
  /// The number of containers around the value.
  let depth: Int

  var codingPath: [any CodingKey] { [] }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    begin(UInt8(ascii: "{"))
    return KeyedEncodingContainer(JSONObjectEncoder(stream: stream, depth: depth + 1))
  }

  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    begin(UInt8(ascii: "["))
    return JSONArrayEncoder(stream: stream, depth: depth + 1)
  }

  func singleValueContainer() -> any SingleValueEncodingContainer { self }

  /// A value may ask for its container several times, as a class does for inherited members.
  private func begin(_ bracket: UInt8) {
    if stream.depth == depth { stream.begin(bracket) }
  }

  func encodeNil() { stream.writer.writeNull() }
  func encode(_ value: Bool) { stream.writer.write(value) }
  func encode(_ value: String) { stream.writer.write(value) }
  func encode(_ value: Double) throws { try stream.write(number: value) }
  func encode(_ value: Float) throws { try stream.write(number: Double(value)) }
  func encode(_ value: some FixedWidthInteger & Encodable) throws { try stream.write(whole: value) }
  func encode(_ value: some Encodable) throws { try stream.write(value) }
}

struct JSONObjectEncoder<Key: CodingKey>: KeyedEncodingContainerProtocol {
  let stream: JSONStream
  /// The number of open containers, including this one.
  let depth: Int

  var codingPath: [any CodingKey] { [] }

  private func name(_ key: some CodingKey) throws {
    try stream.close(to: depth)
    stream.writer.name(key.stringValue)
  }

  func encodeNil(forKey key: Key) throws {
    try name(key)
    stream.writer.writeNull()
  }
  func encode(_ value: Bool, forKey key: Key) throws {
    try name(key)
    stream.writer.write(value)
  }
  func encode(_ value: String, forKey key: Key) throws {
    try name(key)
    stream.writer.write(value)
  }
  func encode(_ value: Double, forKey key: Key) throws {
    try name(key)
    try stream.write(number: value)
  }
  func encode(_ value: Float, forKey key: Key) throws { try encode(Double(value), forKey: key) }
  func encode(_ value: some FixedWidthInteger & Encodable, forKey key: Key) throws {
    try name(key)
    try stream.write(whole: value)
  }
  func encode(_ value: some Encodable, forKey key: Key) throws {
    try name(key)
    try stream.write(value)
  }

  func nestedContainer<Nested>(keyedBy: Nested.Type, forKey key: Key) -> KeyedEncodingContainer<Nested> {
    superEncoder(forKey: key).container(keyedBy: Nested.self)
  }
  func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
    superEncoder(forKey: key).unkeyedContainer()
  }
  func superEncoder() -> any Encoder { superEncoder(forName: MemberName("super")) }
  func superEncoder(forKey key: Key) -> any Encoder { superEncoder(forName: key) }

  private func superEncoder(forName name: some CodingKey) -> any Encoder {
    do { try self.name(name) } catch { stream.failure = error }
    return JSONValueEncoder(stream: stream, depth: depth)
  }
}

struct JSONArrayEncoder: UnkeyedEncodingContainer {
  let stream: JSONStream
  /// The number of open containers, including this one.
  let depth: Int
  private(set) var count = 0

  init(stream: JSONStream, depth: Int) { (self.stream, self.depth) = (stream, depth) }

  var codingPath: [any CodingKey] { [] }

  private mutating func next() throws -> JSONValueEncoder {
    try stream.close(to: depth)
    count += 1
    return JSONValueEncoder(stream: stream, depth: depth)
  }

  mutating func encodeNil() throws { try next().encodeNil() }
  mutating func encode(_ value: Bool) throws { try next().encode(value) }
  mutating func encode(_ value: String) throws { try next().encode(value) }
  mutating func encode(_ value: Double) throws { try next().encode(value) }
  mutating func encode(_ value: Float) throws { try next().encode(value) }
  mutating func encode(_ value: some FixedWidthInteger & Encodable) throws { try next().encode(value) }
  mutating func encode(_ value: some Encodable) throws { try next().encode(value) }

  mutating func nestedContainer<Nested>(keyedBy: Nested.Type) -> KeyedEncodingContainer<Nested> {
    superEncoder().container(keyedBy: Nested.self)
  }
  mutating func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { superEncoder().unkeyedContainer() }
  mutating func superEncoder() -> any Encoder {
    do { return try next() } catch {
      stream.failure = error
      return JSONValueEncoder(stream: stream, depth: depth)
    }
  }
}

/// A coding key with any name.
struct MemberName: CodingKey {
  let stringValue: String
  var intValue: Int? { nil }

  init(_ name: String) { stringValue = name }
  init?(stringValue: String) { self.stringValue = stringValue }
  init?(intValue: Int) { nil }
}
