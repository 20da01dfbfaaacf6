/// The name of a stream: `category-id`, for instance `account-1042`.
public struct StreamID: Hashable, Sendable, CustomStringConvertible {
  /// The allowed length of a name, in bytes of UTF-8. The store has the same bounds.
  public static let lengths = 3...255

  /// The whole name, such as `account-42`.
  public let rawValue: String

  public static func == (a: StreamID, b: StreamID) -> Bool { ExactText(a.rawValue) == ExactText(b.rawValue) }
  public func hash(into hasher: inout Hasher) { ExactText(rawValue).hash(into: &hasher) }

  /// Creates the name `category-id`.
  /// - Precondition: The category is not empty and contains no `-`. The id is not empty. The length of the name is
  ///   within `lengths`. Check ids from outside with `isValid` first.
  public init(category: String, id: String) {
    precondition(!category.isEmpty && !category.contains("-") && !id.isEmpty, "not a stream: \(category)-\(id)")
    self.init(rawValue: "\(category)-\(id)")
  }

  /// Returns whether the category and the id make a valid name. Use it for ids from outside.
  public static func isValid(category: String, id: String) -> Bool {
    guard !category.isEmpty, !category.utf8.contains(UInt8(ascii: "-")), !id.isEmpty,
      lengths.contains(category.utf8.count + 1 + id.utf8.count)
    else { return false }
    // Most ids are plain ASCII, which needs no lookup of character properties.
    return id.utf8.allSatisfy { (0x20..<0x7F).contains($0) }
      || id.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
  }

  /// Creates a stream's id from its whole name, as the store has it.
  public init(rawValue: String) {
    precondition(Self.lengths.contains(rawValue.utf8.count), "a stream's name has 3 to 255 bytes")
    self.rawValue = rawValue
  }

  /// The part of the name before the first `-`.
  public var category: Substring { rawValue[..<separator] }
  /// The part of the name after the first `-`.
  public var id: Substring { rawValue[separator...].dropFirst() }
  private var separator: String.Index { rawValue.utf8.firstIndex(of: UInt8(ascii: "-")) ?? rawValue.endIndex }
  public var description: String { rawValue }

  /// The 16 bits that assign the stream to a partition. They never change. FNV-1a of 64 bits over the name's UTF-8
  /// (offset 14695981039346656037, prime 1099511628211) is mixed by the finalizer of MurmurHash3 (`fmix64`); these are
  /// the upper 16 bits. FNV alone spreads its upper bits poorly.
  public var hash: UInt16 { UInt16(wideHash >> 48) }

  /// All 64 bits of the hash; `hash` is the upper 16 of them.
  public var wideHash: UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in rawValue.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    hash = (hash ^ hash >> 33) &* 0xff51_afd7_ed55_8ccd
    hash = (hash ^ hash >> 33) &* 0xc4ce_b9fe_1a85_ec53
    return hash ^ hash >> 33
  }
}

/// An event's place in the whole store: 1, 2, 3, … in commit order, without gaps. 0 is the place before the first
/// event.
public struct Position: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  public let rawValue: Int64
  public init(rawValue: Int64) { self.rawValue = rawValue }
  /// Creates a position from its number.
  public init(_ value: Int64) { rawValue = value }
  /// Before the first event: 0.
  public static let start = Position(0)
  public static func < (a: Position, b: Position) -> Bool { a.rawValue < b.rawValue }
  /// Returns the position that is so many positions later.
  public func advanced(by distance: Int) -> Position { Position(rawValue + Int64(distance)) }
  public var description: String { String(rawValue) }
}

/// An event's place in its stream: 1, 2, 3, … without gaps. It is also the number of events in a stream: a stream that
/// does not exist has version 0.
public struct Version: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
  public let rawValue: Int64
  public init(rawValue: Int64) { self.rawValue = rawValue }
  /// Creates a version from its number.
  public init(_ value: Int64) { rawValue = value }
  /// The version of a stream without events: 0.
  public static let none = Version(0)
  public static func < (a: Version, b: Version) -> Bool { a.rawValue < b.rawValue }
  /// Returns the version that is so many events later.
  public func advanced(by distance: Int) -> Version { Version(rawValue + Int64(distance)) }
  public var description: String { String(rawValue) }
}
