internal import EventSourcing
internal import Foundation
internal import HTTPKit

/// Encodes cursors as URL-safe text that clients pass back unchanged.
public enum OpaqueCursor {
  /// Returns the cursor for a text.
  public static func encode(_ text: String) -> String { Base64URL.encode(text.utf8) }

  /// Returns the text of a cursor, or nil if the cursor is malformed.
  public static func decode(_ opaque: String) -> String? {
    Base64URL.decode(opaque).flatMap { String(bytes: $0, encoding: .utf8) }
  }

  /// Returns what stands before and after the first colon of the cursor's text, or nil if it has none. Compares bytes,
  /// so that a combining character after the colon does not hide it.
  public static func parts(_ opaque: String) -> (String, String)? {
    guard let text = decode(opaque), let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else { return nil }
    return (String(text.utf8[..<colon]) ?? "", String(text.utf8[colon...].dropFirst()) ?? "")
  }
}

/// A cursor that holds the first day of a period.
public struct DayCursor {
  /// A day such as `2026-11-21`.
  public let day: String

  /// The cursor as clients send it.
  public var opaque: String { OpaqueCursor.encode(day) }

  /// Creates the cursor of a day such as `2026-11-21`.
  public init(day: String) { self.day = day }

  /// Fails if the text is not the cursor of a day.
  public init?(opaque text: String) {
    guard let day = OpaqueCursor.decode(text), QueryParameters.isDay(day) else { return nil }
    self.day = day
  }
}

/// A cursor that holds a version of a stream.
struct VersionCursor {
  let version: Version

  var opaque: String { OpaqueCursor.encode("v\(version.rawValue)") }

  init(version: Version) { self.version = version }

  init?(opaque text: String) {
    guard let text = OpaqueCursor.decode(text), text.first == "v", let version = Int64(text.dropFirst()), version >= 1
    else { return nil }
    self.version = Version(version)
  }
}
