public import EventSourcing

/// The rule for ids that clients choose.
public enum Identifier {
  public static let maximumLength = 128

  /// Returns what is wrong with an id, or nil if it is valid.
  public static func problem(_ text: String) -> String? {
    guard !text.isEmpty else { return "must not be empty" }
    guard text.utf8.count <= maximumLength else { return "must have at most \(maximumLength) bytes" }
    guard text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else { return "must be printable ASCII" }
    guard !isPathStep(text) else { return #"must be neither "." nor "..""# }
    return nil
  }

  /// Clients and proxies remove these segments from a path.
  static func isPathStep(_ text: String) -> Bool { text == "." || text == ".." }
}

/// A stock-keeping unit (SKU) in its normal form: upper case, no spaces at either end.
public struct SKU: Codable, Hashable, Sendable, CustomStringConvertible {
  public static let maximumLength = 64
  public static let rule =
    "must have 1 to 64 characters: letters A to Z, digits, '.', '_', '-' and single spaces between them, "
    + #"and be neither "." nor "..""#

  public let rawValue: String

  /// Normalises the text. Returns nil if it breaks the `rule`.
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

  /// Takes a SKU from an event, where it is already normal.
  init(stored: String) { rawValue = stored }

  public init(from decoder: any Decoder) throws { rawValue = try decoder.singleValueContainer().decode(String.self) }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(rawValue)
  }

  public var description: String { rawValue }
}

/// Limits on money, quantities, texts and times.
public enum Bounds {
  /// Minor units of the currency.
  public static let unitPrice: ClosedRange<Int64> = 1...1_000_000_000_000
  public static let quantity: ClosedRange<Int64> = 1...1_000_000
  public static let lines = 1...100
  /// An order's or return's total in minor units. The limit is low, so that sums over very many totals fit in 64 bits.
  public static let total: ClosedRange<Int64> = 1...10_000_000_000_000
  /// Lengths of texts, in Unicode scalars.
  public static let nameLength = 1...200
  public static let textLength = 0...2_000
  public static let countryLength = 1...64
  /// The times that an event may have, from 1970 to one day after `now`: clocks and time zones differ by a day at most.
  public static func times(now: Timestamp) -> ClosedRange<Timestamp> {
    let day: Int64 = 86_400_000_000
    return Timestamp(microsecondsSince1970: 0)...Timestamp(microsecondsSince1970: now.microsecondsSince1970 + day)
  }
}
