internal import Commerce
internal import CommerceReadModels
internal import EventSourcing
internal import QueryKit

extension OrderQueries.Cursor {
  /// `microseconds:order id`.
  var opaque: String { OpaqueCursor.encode("\(placedAt.microsecondsSince1970):\(orderID)") }

  init?(opaque text: String) {
    guard let (time, id) = OpaqueCursor.parts(text), let microseconds = Int64(time),
      Timestamp.range.contains(Timestamp(microsecondsSince1970: microseconds)), Identifier.problem(id) == nil
    else { return nil }
    self.init(placedAt: Timestamp(microsecondsSince1970: microseconds), orderID: id)
  }
}

extension CatalogueQueries.Cursor {
  /// `sku:value`. A SKU has no colon.
  var opaque: String { OpaqueCursor.encode("\(sku):\(value)") }

  init?(opaque text: String) {
    guard let (code, value) = OpaqueCursor.parts(text), let sku = SKU(code), !value.unicodeScalars.contains("\0")
    else { return nil }
    self.init(value: value, sku: sku.rawValue)
  }
}

extension CustomerQueries.Cursor {
  /// `rank:customer id`.
  var opaque: String { OpaqueCursor.encode("\(rank):\(customerID)") }

  init?(opaque text: String) {
    guard let (number, id) = OpaqueCursor.parts(text), let rank = Int64(number), Identifier.problem(id) == nil
    else { return nil }
    self.init(rank: rank, customerID: id)
  }
}
