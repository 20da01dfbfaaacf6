/// Rules for the names that clients may choose.
public enum Identifier {
  public static let maximumLength = 128

  /// What is wrong with an id; nil when nothing is.
  public static func problem(_ text: String) -> String? {
    guard !text.isEmpty else { return "must not be empty" }
    guard text.utf8.count <= maximumLength else { return "must have at most \(maximumLength) bytes" }
    guard text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else { return "must be printable ASCII" }
    // Clients and proxies take these out of a path.
    guard text != "." && text != ".." else { return "must not be . or .." }
    return nil
  }
}

/// A stock-keeping unit in its normal form: upper case, without spaces around it.
public struct SKU: Hashable, Sendable, CustomStringConvertible {
  public static let maximumLength = 64
  public static let rule =
    "must have 1 to 64 characters: letters A to Z, digits, '.', '_', '-' and single spaces between them"

  public let rawValue: String

  /// Normalises; nil when the text breaks the `rule`.
  public init?(_ text: String) {
    guard text.utf8.allSatisfy({ $0 < 0x80 }) else { return nil }
    guard let first = text.firstIndex(where: { !$0.isWhitespace }),
      let last = text.lastIndex(where: { !$0.isWhitespace })
    else { return nil }
    let normal = text[first...last].uppercased()
    let allowed = normal.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
      case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: " "): true
      default: false
      }
    }
    guard (1...Self.maximumLength).contains(normal.utf8.count), allowed, !normal.contains("  ") else { return nil }
    rawValue = normal
  }

  /// A sku as it stands in an event, normal already.
  init(stored: String) { rawValue = stored }

  public var description: String { rawValue }
}

/// Bounds on money and quantities.
public enum Bounds {
  /// Minor units of the currency.
  public static let unitPrice: ClosedRange<Int64> = 1...1_000_000_000_000
  public static let quantity: ClosedRange<Int64> = 1...1_000_000
  public static let lines = 1...100
  /// Unicode scalars of a name, and of other texts.
  public static let nameLength = 1...200
  public static let textLength = 0...2_000
}
