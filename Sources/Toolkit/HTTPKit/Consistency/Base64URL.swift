internal import FoundationEssentials

/// base64url without padding (RFC 4648, section 5), the encoding of tokens and cursors.
package enum Base64URL {
  /// Returns the base64url of some bytes.
  package static func encode(_ bytes: some Sequence<UInt8>) -> String {
    var text = Array(Data(Array(bytes)).base64EncodedData())
    while text.last == UInt8(ascii: "=") { text.removeLast() }
    for index in text.indices { text[index] = own(text[index]) }
    return String(decoding: text, as: UTF8.self)
  }

  /// Returns the bytes that `encode` made a text of.
  /// - Returns: nil for text that `encode` cannot produce: with padding, in the other alphabet, or with nonzero unused
  ///   bits.
  package static func decode(_ text: some StringProtocol) -> [UInt8]? {
    var standard: [UInt8] = []
    standard.reserveCapacity(text.utf8.count + 3)
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "-"): standard.append(UInt8(ascii: "+"))
      case UInt8(ascii: "_"): standard.append(UInt8(ascii: "/"))
      case UInt8(ascii: "+"), UInt8(ascii: "/"), UInt8(ascii: "="): return nil
      default: standard.append(byte)
      }
    }
    standard += Array(repeating: UInt8(ascii: "="), count: (4 - standard.count % 4) % 4)
    guard let bytes = Data(base64Encoded: Data(standard)).map({ Array($0) }), encode(bytes) == text else { return nil }
    return bytes
  }

  private static func own(_ byte: UInt8) -> UInt8 {
    switch byte {
    case UInt8(ascii: "+"): UInt8(ascii: "-")
    case UInt8(ascii: "/"): UInt8(ascii: "_")
    default: byte
    }
  }
}
