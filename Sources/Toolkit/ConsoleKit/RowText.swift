package import JSON

/// A text with members of a row:
///
///     "\("owner"): \(money: "balance", in: "currency"), since \(time: "openedAt")"
public struct RowText: ExpressibleByStringInterpolation, Sendable {
  /// Texts, and objects that name members and their format.
  package let json: JSON

  public init(stringLiteral text: String) { json = [.string(text)] }
  public init(stringInterpolation text: Interpolation) { json = .array(text.parts) }

  /// Collects the parts of a text with interpolated members.
  public struct Interpolation: StringInterpolationProtocol {
    fileprivate var parts: [JSON] = []

    public init(literalCapacity: Int, interpolationCount: Int) { parts.reserveCapacity(2 * interpolationCount + 1) }

    public mutating func appendLiteral(_ text: String) { if !text.isEmpty { parts.append(.string(text)) } }

    /// The member's text.
    /// - Parameters:
    ///   - member: the name of the member.
    ///   - other: the member to take if that one is missing, null or empty.
    public mutating func appendInterpolation(_ member: String, or other: String? = nil) {
      add("text", member, [.init("or", other.map { .string($0) } ?? .null)])
    }

    /// A number, with separators between its thousands.
    public mutating func appendInterpolation(number member: String) { add("number", member) }

    /// An amount in minor units.
    /// - Parameters:
    ///   - member: the name of the member with the amount.
    ///   - currency: the member with its ISO 4217 code.
    public mutating func appendInterpolation(money member: String, in currency: String) {
      add("money", member, [.init("currency", .string(currency))])
    }

    /// A time as in RFC 3339, shown in the viewer's time zone.
    public mutating func appendInterpolation(time member: String) { add("time", member) }

    /// The text for each element of an array, with commas between them; the first 80 characters.
    public mutating func appendInterpolation(each member: String, _ element: RowText) {
      add("each", member, [.init("element", element.json)])
    }

    private mutating func add(_ format: String, _ member: String, _ more: [JSON.Member] = []) {
      parts.append(.object([.init("as", .string(format)), .init("member", .string(member))] + more))
    }
  }
}
