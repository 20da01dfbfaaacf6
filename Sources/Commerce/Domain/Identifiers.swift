public import EventSourcing

/// Rules for the names that clients may choose.
public enum Identifier {
  public static let maximumLength = 128

  /// What is wrong with an id; nil when nothing is.
  public static func problem(_ text: String) -> String? {
    guard !text.isEmpty else { return "must not be empty" }
    guard text.utf8.count <= maximumLength else { return "must have at most \(maximumLength) bytes" }
    guard text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else { return "must be printable ASCII" }
    guard !isPathStep(text) else { return #"must be neither "." nor "..""# }
    return nil
  }

  /// Clients and proxies take these out of a path.
  static func isPathStep(_ text: String) -> Bool { text == "." || text == ".." }
}

/// A stock-keeping unit in its normal form: upper case, without spaces around it.
public struct SKU: Codable, Hashable, Sendable, CustomStringConvertible {
  public static let maximumLength = 64
  public static let rule =
    "must have 1 to 64 characters: letters A to Z, digits, '.', '_', '-' and single spaces between them, "
    + #"and be neither "." nor "..""#

  public let rawValue: String

  /// Normalises; nil when the text breaks the `rule`.
  public init?(_ text: String) {
    let isSpace: (UInt8) -> Bool = { $0 == 0x20 || (0x09...0x0D).contains($0) }
    var bytes = text.utf8[...]
    while let first = bytes.first, isSpace(first) { bytes.removeFirst() }
    while let last = bytes.last, isSpace(last) { bytes.removeLast() }
    guard (1...Self.maximumLength).contains(bytes.count) else { return nil }
    var normal: [UInt8] = []
    normal.reserveCapacity(bytes.count)
    for byte in bytes {
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."),
        UInt8(ascii: "_"), UInt8(ascii: "-"):
        normal.append(byte)
      case UInt8(ascii: "a")...UInt8(ascii: "z"): normal.append(byte - 0x20)
      case 0x20 where normal.last != 0x20: normal.append(byte)
      default: return nil
      }
    }
    rawValue = String(decoding: normal, as: UTF8.self)
    guard !Identifier.isPathStep(rawValue) else { return nil }
  }

  /// A sku as it stands in an event, normal already.
  init(stored: String) { rawValue = stored }

  public init(from decoder: any Decoder) throws { rawValue = try decoder.singleValueContainer().decode(String.self) }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(rawValue)
  }

  public var description: String { rawValue }
}

/// Bounds on money and quantities.
public enum Bounds {
  /// Minor units of the currency.
  public static let unitPrice: ClosedRange<Int64> = 1...1_000_000_000_000
  public static let quantity: ClosedRange<Int64> = 1...1_000_000
  public static let lines = 1...100
  /// Minor units of an order's or a return's total: low enough that sums over very many of them fit in 64 bits.
  public static let total: ClosedRange<Int64> = 1...10_000_000_000_000
  /// Unicode scalars of a name, and of other texts.
  public static let nameLength = 1...200
  public static let textLength = 0...2_000
  public static let countryLength = 1...64
  /// When something can have happened; clocks differ, and so do their zones, by a day at most.
  public static func times(now: Timestamp) -> ClosedRange<Timestamp> {
    let day: Int64 = 86_400_000_000
    return Timestamp(microsecondsSince1970: 0)...Timestamp(microsecondsSince1970: now.microsecondsSince1970 + day)
  }
}
