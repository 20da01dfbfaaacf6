import Commerce
import CommerceReadModels
import EventSourcing
import Foundation

/// Cursors as clients carry them: base64url.
private func opaque(_ text: String) -> String {
  Data(text.utf8).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
}

/// nil for a text that `opaque` did not write.
private func clear(_ opaque: String) -> String? {
  let standard = opaque.replacing("-", with: "+").replacing("_", with: "/")
  let padding = String(repeating: "=", count: (4 - standard.count % 4) % 4)
  return Data(base64Encoded: standard + padding).flatMap { String(bytes: $0, encoding: .utf8) }
}

extension OrderQueries.Cursor {
  /// `microseconds:order id`.
  var opaque: String { QueryService.opaque("\(placedAt.microsecondsSince1970):\(orderID)") }

  init?(opaque text: String) {
    guard let decoded = clear(text), let colon = decoded.firstIndex(of: ":"),
      let microseconds = Int64(decoded[..<colon]),
      Timestamp.range.contains(Timestamp(microsecondsSince1970: microseconds)),
      Identifier.problem(String(decoded[colon...].dropFirst())) == nil
    else { return nil }
    self.init(
      placedAt: Timestamp(microsecondsSince1970: microseconds), orderID: String(decoded[colon...].dropFirst()))
  }
}

extension CatalogueQueries.Cursor {
  /// `sku:value`; no sku has a colon in it.
  var opaque: String { QueryService.opaque("\(sku):\(value)") }

  init?(opaque text: String) {
    guard let decoded = clear(text), let colon = decoded.firstIndex(of: ":"),
      let sku = SKU(String(decoded[..<colon])), !decoded.unicodeScalars.contains("\0")
    else { return nil }
    self.init(value: String(decoded[colon...].dropFirst()), sku: sku.rawValue)
  }
}

extension CustomerQueries.Cursor {
  /// `rank:customer id`.
  var opaque: String { QueryService.opaque("\(rank):\(customerID)") }

  init?(opaque text: String) {
    guard let decoded = clear(text), let colon = decoded.firstIndex(of: ":"), let rank = Int64(decoded[..<colon]),
      Identifier.problem(String(decoded[colon...].dropFirst())) == nil
    else { return nil }
    self.init(rank: rank, customerID: String(decoded[colon...].dropFirst()))
  }
}
