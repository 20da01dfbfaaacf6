extension String {
  /// The string as one path segment: all characters except the unreserved ones of RFC 3986, section 2.3,
  /// percent-encoded.
  public var percentEncodedSegment: String {
    let isUnreserved: (UInt8) -> Bool = { byte in
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"):
        true
      default: false
      }
    }
    guard !utf8.allSatisfy(isUnreserved) else { return self }
    return utf8.map { byte in
      isUnreserved(byte)
        ? String(UnicodeScalar(byte)) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
    }.joined()
  }
}
