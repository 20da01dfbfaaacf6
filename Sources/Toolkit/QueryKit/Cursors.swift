internal import EventSourcing
internal import Foundation
internal import ServiceKit

/// Cursors as clients carry them.
public enum OpaqueCursor {
  public static func encode(_ text: String) -> String { Base64URL.encode(text.utf8) }

  /// nil for a text that `encode` did not write.
  public static func decode(_ opaque: String) -> String? {
    Base64URL.decode(opaque).flatMap { String(bytes: $0, encoding: .utf8) }
  }

  /// The two parts of a text at its first colon; whatever follows that, it is a character of its own here.
  public static func parts(_ opaque: String) -> (String, String)? {
    guard let text = decode(opaque), let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else { return nil }
    return (String(text.utf8[..<colon]) ?? "", String(text.utf8[colon...].dropFirst()) ?? "")
  }
}

/// The first day of a period.
public struct DayCursor {
  public let day: String

  public var opaque: String { OpaqueCursor.encode(day) }

  public init(day: String) { self.day = day }

  public init?(opaque text: String) {
    guard let day = OpaqueCursor.decode(text), QueryParameters.isDay(day) else { return nil }
    self.day = day
  }
}

/// A version of a stream.
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
