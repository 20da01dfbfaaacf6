/// A JSON value (RFC 8259) as it was written: members keep their order, and whole numbers that fit in 64 bits are
/// exact.
public enum JSON: Sendable, Hashable {
  /// The value `null`.
  case null
  /// `true` or `false`.
  case boolean(Bool)
  /// A number without a fraction or exponent that fits in 64 bits.
  case integer(Int64)
  /// Any other number.
  case number(Double)
  /// A string, without its escapes.
  case string(String)
  /// An array.
  case array([JSON])
  /// An object. Its members are in the order in which they were written; `JSON(parsing:)` rejects a name that occurs
  /// twice.
  case object([Member])

  /// A member of an object.
  public struct Member: Sendable, Hashable {
    /// The member's name.
    public let name: String
    /// The member's value.
    public let value: JSON

    /// Creates a member.
    public init(_ name: String, _ value: JSON) {
      self.name = name
      self.value = value
    }
  }

  /// The member of that name; nil if there is none, or if the value is not an object.
  public subscript(name: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }

  public subscript(index: Int) -> JSON? {
    guard case .array(let elements) = self, elements.indices.contains(index) else { return nil }
    return elements[index]
  }

  /// The text of a string; nil for any other value.
  public var string: String? { if case .string(let value) = self { value } else { nil } }
  /// The value of `integer`; nil for any other value, `number` included.
  public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
  /// A whole number as JSON Schema defines it, in any notation: 1, 1.0 and 1e2. From 2^53 on only plain digits count,
  /// because a fraction would have been lost.
  public var wholeNumber: Int64? {
    switch self {
    case .integer(let value): value
    case .number(let value) where abs(value) < 0x1p53: Int64(exactly: value)
    default: nil
    }
  }
  /// The value of `boolean`; nil for any other value.
  public var boolean: Bool? { if case .boolean(let value) = self { value } else { nil } }
  /// The elements of an array; nil for any other value.
  public var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
  /// The members of an object; nil for any other value.
  public var members: [Member]? { if case .object(let value) = self { value } else { nil } }
  /// Whether the value is `null`.
  public var isNull: Bool { self == .null }

  /// The type of the value in the words of RFC 8259, for messages.
  public var kind: String {
    switch self {
    case .null: "null"
    case .boolean: "a boolean"
    case .integer, .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }

  /// The value as JSON text in UTF-8, without white space.
  public var encoded: [UInt8] {
    var writer = JSONWriter()
    writer.write(self)
    return writer.bytes
  }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
  public init(stringLiteral value: String) { self = .string(value) }
  public init(integerLiteral value: Int64) { self = .integer(value) }
  public init(booleanLiteral value: Bool) { self = .boolean(value) }
  public init(arrayLiteral elements: JSON...) { self = .array(elements) }
  public init(dictionaryLiteral elements: (String, JSON)...) {
    self = .object(elements.map { Member($0.0, $0.1) })
  }
  public init(nilLiteral: ()) { self = .null }
}
