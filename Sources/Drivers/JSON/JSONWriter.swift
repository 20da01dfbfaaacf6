/// Writes JSON directly into bytes, without building a tree.
///
///     var json = JSONWriter()
///     json.object {
///       $0.member("id", id)
///       $0.member("lines") { $0.array(lines) { $0.object { … } } }
///     }
public struct JSONWriter: Sendable {
  public private(set) var bytes: [UInt8] = []
  private var needsComma = false
  /// Whether U+0000 was written, which `JSON(parsing:)` rejects.
  private(set) var hasNUL = false

  public init(reserving capacity: Int = 256) { bytes.reserveCapacity(capacity) }

  public var string: String { String(decoding: bytes, as: UTF8.self) }

  public mutating func object(_ body: (inout JSONWriter) throws -> Void) rethrows {
    begin(UInt8(ascii: "{"))
    try body(&self)
    end(UInt8(ascii: "}"))
  }

  public mutating func array<Element>(
    _ elements: some Sequence<Element>, _ body: (inout JSONWriter, Element) throws -> Void
  ) rethrows {
    begin(UInt8(ascii: "["))
    for element in elements { try body(&self, element) }
    end(UInt8(ascii: "]"))
  }

  public mutating func member(_ name: StaticString, _ value: (inout JSONWriter) throws -> Void) rethrows {
    separate()
    bytes.append(UInt8(ascii: "\""))
    bytes.append(contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
    bytes.append(UInt8(ascii: "\""))
    bytes.append(UInt8(ascii: ":"))
    needsComma = false
    try value(&self)
  }

  public mutating func member(_ name: StaticString, _ value: String) { member(name) { $0.write(value) } }
  public mutating func member(_ name: StaticString, _ value: some BinaryInteger) { member(name) { $0.write(value) } }
  public mutating func member(_ name: StaticString, _ value: Bool) { member(name) { $0.write(value) } }
  public mutating func member(_ name: StaticString, raw value: [UInt8]) { member(name) { $0.write(raw: value) } }

  /// Omits the member if the value is nil.
  public mutating func member(_ name: StaticString, ifPresent value: String?) {
    if let value { member(name, value) }
  }

  public mutating func write(_ value: some BinaryInteger) { token(String(value).utf8) }
  public mutating func write(_ value: Bool) { token((value ? "true" : "false").utf8) }
  public mutating func writeNull() { token("null".utf8) }

  /// Writes text that is already JSON.
  public mutating func write(raw json: [UInt8]) { token(json) }

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
  public mutating func member(_ name: StaticString, orNull value: String?) {
    member(name) { if let value { $0.write(value) } else { $0.writeNull() } }
  }
}
