/// Writes JSON directly into bytes, without building a tree.
///
///     var json = JSONWriter()
///     json.object {
///       $0.member("id", id)
///       $0.member("lines") { $0.array(lines) { $0.object { … } } }
///     }
public struct JSONWriter: Sendable {
  /// The text so far, in UTF-8.
  public private(set) var bytes: [UInt8] = []
  private var needsComma = false
  /// Whether U+0000 was written, which `JSON(parsing:)` rejects.
  private(set) var hasNUL = false

  /// Creates a writer without any text.
  /// - Parameter capacity: The memory to reserve, in bytes. The text may become longer.
  public init(reserving capacity: Int = 256) { bytes.reserveCapacity(capacity) }

  /// The text so far.
  public var string: String { String(decoding: bytes, as: UTF8.self) }

  /// Writes an object.
  /// - Parameter body: Writes the members.
  public mutating func object(_ body: (inout JSONWriter) throws -> Void) rethrows {
    begin(UInt8(ascii: "{"))
    try body(&self)
    end(UInt8(ascii: "}"))
  }

  /// Writes an array.
  /// - Parameters:
  ///   - elements: The values to write, in order.
  ///   - body: Writes the JSON value of one of them.
  public mutating func array<Element>(
    _ elements: some Sequence<Element>, _ body: (inout JSONWriter, Element) throws -> Void
  ) rethrows {
    begin(UInt8(ascii: "["))
    for element in elements { try body(&self, element) }
    end(UInt8(ascii: "]"))
  }

  /// Writes a member of an object.
  /// - Parameters:
  ///   - name: The member's name, which needs no escapes.
  ///   - value: Writes the member's value.
  public mutating func member(_ name: StaticString, _ value: (inout JSONWriter) throws -> Void) rethrows {
    separate()
    bytes.append(UInt8(ascii: "\""))
    bytes.append(contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
    bytes.append(UInt8(ascii: "\""))
    bytes.append(UInt8(ascii: ":"))
    needsComma = false
    try value(&self)
  }

  /// Writes a member whose value is a string.
  public mutating func member(_ name: StaticString, _ value: String) { member(name) { $0.write(value) } }
  /// Writes a member whose value is a whole number.
  public mutating func member(_ name: StaticString, _ value: some BinaryInteger) { member(name) { $0.write(value) } }
  /// Writes a member whose value is `true` or `false`.
  public mutating func member(_ name: StaticString, _ value: Bool) { member(name) { $0.write(value) } }
  /// Writes a member whose value is already JSON text in UTF-8. The text is not checked.
  public mutating func member(_ name: StaticString, raw value: [UInt8]) { member(name) { $0.write(raw: value) } }

  /// Omits the member if the value is nil.
  public mutating func member(_ name: StaticString, ifPresent value: String?) {
    if let value { member(name, value) }
  }

  /// Writes a whole number.
  public mutating func write(_ value: some BinaryInteger) { token(String(value).utf8) }
  /// Writes `true` or `false`.
  public mutating func write(_ value: Bool) { token((value ? "true" : "false").utf8) }
  /// Writes `null`.
  public mutating func writeNull() { token("null".utf8) }

  /// Writes text that is already JSON.
  public mutating func write(raw json: [UInt8]) { token(json) }

  /// Writes a string, with the escapes that RFC 8259 requires.
  public mutating func write(_ value: String) {
    separate()
    bytes.append(UInt8(ascii: "\""))
    var value = value
    value.withUTF8 { utf8 in
      if utf8.allSatisfy({ $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
        bytes.append(contentsOf: utf8)
      } else {
        for byte in utf8 { append(escaping: byte) }
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }

  /// Writes a value with its members in their order.
  public mutating func write(_ json: JSON) {
    switch json {
    case .null: writeNull()
    case .boolean(let value): write(value)
    case .integer(let value): write(value)
    case .number(let value): token("\(value)".utf8)
    case .string(let value): write(value)
    case .array(let elements): array(elements) { $0.write($1) }
    case .object(let members):
      object { writer in
        for member in members {
          writer.name(member.name)
          writer.write(member.value)
        }
      }
    }
  }

  /// Writes the name of a member, whose value must follow.
  mutating func name(_ name: String) {
    write(name)
    bytes.append(UInt8(ascii: ":"))
    needsComma = false
  }

  private mutating func token(_ text: some Sequence<UInt8>) {
    separate()
    bytes.append(contentsOf: text)
  }

  private mutating func separate() {
    if needsComma { bytes.append(UInt8(ascii: ",")) }
    needsComma = true
  }

  mutating func begin(_ bracket: UInt8) {
    separate()
    bytes.append(bracket)
    needsComma = false
  }

  mutating func end(_ bracket: UInt8) {
    bytes.append(bracket)
    needsComma = true
  }

  private mutating func append(escaping byte: UInt8) {
    switch byte {
    case UInt8(ascii: "\""): bytes.append(contentsOf: #"\""#.utf8)
    case UInt8(ascii: "\\"): bytes.append(contentsOf: #"\\"#.utf8)
    case 0x0A: bytes.append(contentsOf: #"\n"#.utf8)
    case 0x0D: bytes.append(contentsOf: #"\r"#.utf8)
    case 0x09: bytes.append(contentsOf: #"\t"#.utf8)
    case 0..<0x20:
      if byte == 0 { hasNUL = true }
      let hex = String(byte, radix: 16)
      bytes.append(contentsOf: #"\u00"#.utf8)
      bytes.append(contentsOf: (hex.count == 1 ? "0" + hex : hex).utf8)
    default: bytes.append(byte)
    }
  }
}

extension JSONWriter {
  /// Writes a member whose value is a string, or `null` if there is none.
  public mutating func member(_ name: StaticString, orNull value: String?) {
    member(name) { if let value { $0.write(value) } else { $0.writeNull() } }
  }
}
