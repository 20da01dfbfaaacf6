/// The reason why a text is not JSON, and the place.
public struct JSONError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What is wrong, in words.
  public let message: String
  /// The offset in bytes from the start of the text.
  public let offset: Int

  public var description: String { "\(message) at byte \(offset)" }
}

extension JSON {
  /// The maximum nesting depth of arrays and objects.
  public static let maximumDepth = 64

  /// Parses one JSON text in UTF-8 (RFC 8259). It rejects input in which a lenient parser would hide a mistake: a
  /// repeated member name, invalid UTF-8, a lone surrogate, U+0000, nesting beyond `maximumDepth`.
  public init(parsing bytes: [UInt8]) throws(JSONError) {
    self = try bytes.withUnsafeBufferPointer { buffer throws(JSONError) in
      var parser = JSONParser(bytes: buffer)
      let value = try parser.parseValue(depth: 0)
      parser.skipWhitespace()
      guard parser.isAtEnd else { throw parser.error("unexpected text after the value") }
      return value
    }
  }
}

private struct JSONParser {
  let bytes: UnsafeBufferPointer<UInt8>
  var offset = 0

  init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  var isAtEnd: Bool { offset == bytes.count }
  var next: UInt8? { offset < bytes.count ? bytes[offset] : nil }

  func error(_ message: String) -> JSONError { JSONError(message: message, offset: offset) }

  mutating func skipWhitespace() {
    while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
  }

  mutating func skip(_ byte: UInt8) -> Bool {
    skipWhitespace()
    guard next == byte else { return false }
    offset += 1
    return true
  }

  mutating func parseValue(depth: Int) throws(JSONError) -> JSON {
    skipWhitespace()
    guard depth <= JSON.maximumDepth else { throw error("nested deeper than \(JSON.maximumDepth)") }
    guard let byte = next else { throw error("unexpected end of the text") }
    switch byte {
    case UInt8(ascii: "{"): return try parseObject(depth: depth)
    case UInt8(ascii: "["): return try parseArray(depth: depth)
    case UInt8(ascii: "\""): return .string(try parseString())
    case UInt8(ascii: "t"): return try parse("true", .boolean(true))
    case UInt8(ascii: "f"): return try parse("false", .boolean(false))
    case UInt8(ascii: "n"): return try parse("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try parseNumber()
    default: throw error("unexpected character")
    }
  }

  private mutating func parse(_ literal: StaticString, _ value: JSON) throws(JSONError) -> JSON {
    let text = UnsafeBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount)
    guard bytes[offset...].starts(with: text) else { throw error("unexpected character") }
    offset += text.count
    return value
  }

  private mutating func parseArray(depth: Int) throws(JSONError) -> JSON {
    offset += 1
    var elements: [JSON] = []
    if skip(UInt8(ascii: "]")) { return .array([]) }
    repeat { elements.append(try parseValue(depth: depth + 1)) } while skip(UInt8(ascii: ","))
    guard skip(UInt8(ascii: "]")) else { throw error("expected , or ]") }
    return .array(elements)
  }

  private mutating func parseObject(depth: Int) throws(JSONError) -> JSON {
    offset += 1
    var members: [JSON.Member] = []
    if skip(UInt8(ascii: "}")) { return .object([]) }
    repeat {
      skipWhitespace()
      guard next == UInt8(ascii: "\"") else { throw error("expected a member's name in double quotes") }
      let start = offset
      let name = try parseString()
      guard skip(UInt8(ascii: ":")) else { throw error("expected :") }
      members.append(JSON.Member(name, try parseValue(depth: depth + 1)))
      // For few members, comparisons cost less than a set. For many, a set bounds the cost.
      let isRepeated = members.count <= 16 && members.dropLast().contains { $0.name == name }
      if isRepeated { throw JSONError(message: "the member \(name) is there twice", offset: start) }
    } while skip(UInt8(ascii: ","))
    guard skip(UInt8(ascii: "}")) else { throw error("expected , or }") }
    guard members.count <= 16 || Set(members.map(\.name)).count == members.count else {
      throw error("a member is there twice")
    }
    return .object(members)
  }
}

// MARK: Numbers
extension JSONParser {
  private mutating func skipDigits() throws(JSONError) {
    let start = offset
    while let byte = next, byte >= 0x30 && byte <= 0x39 { offset += 1 }
    if offset == start { throw error("expected a digit") }
  }

  private mutating func parseNumber() throws(JSONError) -> JSON {
    let start = offset
    if next == UInt8(ascii: "-") { offset += 1 }
    if next == UInt8(ascii: "0") {
      offset += 1
      if let byte = next, byte >= 0x30 && byte <= 0x39 { throw error("a number must not begin with 0") }
    } else {
      try skipDigits()
    }
    var isInteger = true
    if next == UInt8(ascii: ".") {
      isInteger = false
      offset += 1
      try skipDigits()
    }
    if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
      isInteger = false
      offset += 1
      if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { offset += 1 }
      try skipDigits()
    }
    let text = String(decoding: bytes[start..<offset], as: UTF8.self)
    if isInteger, let value = Int64(text) { return .integer(value) }
    guard let value = Double(text), value.isFinite else {
      throw JSONError(message: "the number is too large", offset: start)
    }
    // Without this, 1.00000000000000000001 would become 1. From 2^53 on a number does not count as whole
    // (`JSON.wholeNumber`).
    guard value != value.rounded() || abs(value) >= 0x1p53 || Self.isWhole(text) else {
      throw JSONError(message: "the number has more digits than can be kept", offset: start)
    }
    return .number(value)
  }

  /// Whether a number has no fraction, such as 1.0, 1e2 and 1000e-1.
  private static func isWhole(_ number: String) -> Bool {
    let parts = number.split { $0 == "e" || $0 == "E" }
    let mantissa = parts[0].split(separator: ".")
    let (digits, fraction) = (mantissa.joined(), mantissa.count > 1 ? mantissa[1].utf8.count : 0)
    guard let last = digits.utf8.lastIndex(where: { (0x31...0x39).contains($0) }) else { return true }
    let zeros = digits.utf8.distance(from: last, to: digits.endIndex) - 1
    let exponent = parts.count > 1 ? Int32(parts[1]) ?? (parts[1].first == "-" ? .min : .max) : 0
    return Int(exponent) + zeros >= fraction
  }
}

// MARK: Strings
extension JSONParser {
  private mutating func parseString() throws(JSONError) -> String {
    let start = offset
    offset += 1
    let first = offset
    while let byte = next, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 0x20 { offset += 1 }
    // Most strings have no escapes: their bytes are the text.
    var text: [UInt8]?
    while let byte = next, byte != UInt8(ascii: "\"") {
      if text == nil { text = Array(bytes[first..<offset]) }
      if byte < 0x20 { throw error("control characters must be escaped") }
      offset += 1
      if byte == UInt8(ascii: "\\") { try parseEscape(into: &text!) } else { text!.append(byte) }
    }
    guard !isAtEnd else { throw JSONError(message: "the string does not end", offset: start) }
    let end = offset
    offset += 1
    let string =
      text.map { String(validating: $0, as: UTF8.self) }
      ?? Self.string(UnsafeBufferPointer(rebasing: bytes[first..<end]))
    guard let string else { throw JSONError(message: "the string is not valid UTF-8", offset: start) }
    return string
  }

  /// Most strings are ASCII. They need no `String(validating:as:)`, which looks up its generic types each time.
  private static func string(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
    bytes.allSatisfy { $0 < 0x80 } ? String(decoding: bytes, as: UTF8.self) : String(validating: bytes, as: UTF8.self)
  }

  private mutating func parseEscape(into text: inout [UInt8]) throws(JSONError) {
    guard let byte = next else { throw error("the string does not end") }
    offset += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0C)
    case UInt8(ascii: "n"): text.append(0x0A)
    case UInt8(ascii: "r"): text.append(0x0D)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "u"): text.append(contentsOf: UTF8.encode(try parseScalar())!)
    default: throw error("unknown escape")
    }
  }

  private mutating func parseScalar() throws(JSONError) -> Unicode.Scalar {
    var value = try parseHex()
    if value >= 0xD800 && value < 0xDC00 {
      guard next == UInt8(ascii: "\\") else { throw error("a surrogate stands alone") }
      offset += 1
      guard next == UInt8(ascii: "u") else { throw error("a surrogate stands alone") }
      offset += 1
      let low = try parseHex()
      guard low >= 0xDC00 && low < 0xE000 else { throw error("a surrogate stands alone") }
      value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
    }
    guard value != 0 else { throw error("U+0000 cannot be stored") }
    guard let scalar = Unicode.Scalar(value) else { throw error("a surrogate stands alone") }
    return scalar
  }

  private mutating func parseHex() throws(JSONError) -> UInt32 {
    guard offset + 4 <= bytes.count else { throw error("expected four hexadecimal digits") }
    var value: UInt32 = 0
    for byte in bytes[offset..<offset + 4] {
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
        throw error("expected four hexadecimal digits")
      }
      value = value << 4 | UInt32(digit)
    }
    offset += 4
    return value
  }
}
