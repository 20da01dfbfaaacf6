import Commerce
import CommerceReadModels
import EventSourcing
import Foundation
import ServiceKit

/// Cursors as clients carry them.
private func opaque(_ text: String) -> String { Base64URL.encode(text.utf8) }

/// nil for a text that `opaque` did not write.
private func clear(_ opaque: String) -> String? {
  Base64URL.decode(opaque).flatMap { String(bytes: $0, encoding: .utf8) }
}

/// The two parts of a text at its first colon; whatever follows that, it is a character of its own here.
private func parts(_ text: String) -> (String, String)? {
  guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else { return nil }
  return (String(text.utf8[..<colon]) ?? "", String(text.utf8[colon...].dropFirst()) ?? "")
}

/// The first day of a period.
struct DayCursor {
  let day: String

  var opaque: String { QueryService.opaque(day) }

  init(day: String) { self.day = day }

  init?(opaque text: String) {
    guard let day = clear(text), Parameters.isDay(day) else { return nil }
    self.day = day
  }
}

/// A version of a stream.
struct VersionCursor {
  let version: Version

  var opaque: String { QueryService.opaque("v\(version.rawValue)") }

  init(version: Version) { self.version = version }

  init?(opaque text: String) {
    guard let text = clear(text), text.first == "v", let version = Int64(text.dropFirst()), version >= 1 else {
      return nil
    }
    self.version = Version(version)
  }
}

extension OrderQueries.Cursor {
  /// `microseconds:order id`.
  var opaque: String { QueryService.opaque("\(placedAt.microsecondsSince1970):\(orderID)") }

  init?(opaque text: String) {
    guard let (time, id) = clear(text).flatMap(parts), let microseconds = Int64(time),
      Timestamp.range.contains(Timestamp(microsecondsSince1970: microseconds)), Identifier.problem(id) == nil
    else { return nil }
    self.init(placedAt: Timestamp(microsecondsSince1970: microseconds), orderID: id)
  }
}

extension CatalogueQueries.Cursor {
  /// `sku:value`; no sku has a colon in it.
  var opaque: String { QueryService.opaque("\(sku):\(value)") }

  init?(opaque text: String) {
    guard let (code, value) = clear(text).flatMap(parts), let sku = SKU(code), !value.unicodeScalars.contains("\0")
    else { return nil }
    self.init(value: value, sku: sku.rawValue)
  }
}

extension CustomerQueries.Cursor {
  /// `rank:customer id`.
  var opaque: String { QueryService.opaque("\(rank):\(customerID)") }

  init?(opaque text: String) {
    guard let (number, id) = clear(text).flatMap(parts), let rank = Int64(number), Identifier.problem(id) == nil
    else { return nil }
    self.init(rank: rank, customerID: id)
  }
}
