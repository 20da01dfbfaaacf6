import Commerce
import CommerceReadModels
import EventSourcing
import Foundation

extension OrderQueries.Cursor {
  /// The cursor as clients carry it: base64url of `microseconds:order id`.
  var opaque: String {
    Data("\(placedAt.microsecondsSince1970):\(orderID)".utf8).base64EncodedString()
      .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
  }

  /// nil for a text that `opaque` did not write.
  init?(opaque text: String) {
    let standard = text.replacing("-", with: "+").replacing("_", with: "/")
    let padding = String(repeating: "=", count: (4 - standard.count % 4) % 4)
    guard let data = Data(base64Encoded: standard + padding), let decoded = String(bytes: data, encoding: .utf8),
      let colon = decoded.firstIndex(of: ":"), let microseconds = Int64(decoded[..<colon]),
      Timestamp.range.contains(Timestamp(microsecondsSince1970: microseconds)),
      Identifier.problem(String(decoded[colon...].dropFirst())) == nil
    else { return nil }
    self.init(
      placedAt: Timestamp(microsecondsSince1970: microseconds), orderID: String(decoded[colon...].dropFirst()))
  }
}
