/// Parses a response from the bytes that a connection has received.
struct ResponseParser {
  struct Malformed: Error { let reason: String }

  /// Limits in bytes. Longer responses are errors.
  private static let longestHead = 64 * 1024
  private static let longestBody = 256 * 1024 * 1024

  /// - Returns: the response, its length in bytes, and whether the server closes the connection after it; nil while the
  ///   response is incomplete.
  static func parse(_ bytes: [UInt8]) throws(Malformed) -> (response: Response, length: Int, closes: Bool)? {
    guard let end = endOfHead(bytes) else {
      guard bytes.count < longestHead else { throw Malformed(reason: "the head is too long") }
      return nil
    }
    guard bytes.count >= 12, bytes.starts(with: "HTTP/1.".utf8),
      let status = Int(String(decoding: bytes[9..<12], as: UTF8.self))
    else { throw Malformed(reason: "not HTTP/1.1") }
    var (length, token, closes) = (Int?.none, String?.none, false)
    var start = bytes[..<end].firstIndex(of: newline).map { $0 + 1 } ?? end
    while start < end {
      let lineEnd = bytes[start..<end].firstIndex(of: newline) ?? end
      let line = bytes[start..<lineEnd]
      start = lineEnd + 1
      guard let first = line.first else { continue }
      // The first letter is enough to skip most fields.
      switch first | 0x20 {
      case UInt8(ascii: "c"):
        if let value = value(of: "content-length", in: line) {
          length = Int(value)
        } else if let value = value(of: "consistency-token", in: line) {
          token = value
        } else if let value = value(of: "connection", in: line) {
          closes = value.lowercased() == "close"
        }
      case UInt8(ascii: "t"):
        if value(of: "transfer-encoding", in: line) != nil { throw Malformed(reason: "a chunked body") }
      default: break
      }
    }
    let bodyStart = end + 4
    let bodyLength = status == 304 || status == 204 ? 0 : length
    guard let bodyLength, (0...longestBody).contains(bodyLength) else {
      throw Malformed(reason: "no valid Content-Length")
    }
    guard bytes.count >= bodyStart + bodyLength else { return nil }
    let response = Response(
      status: status, consistencyToken: token, body: bytes[bodyStart..<bodyStart + bodyLength])
    return (response, bodyStart + bodyLength, closes)
  }

  private static let newline = UInt8(ascii: "\n")

  /// Returns the index of the line break before the empty line.
  private static func endOfHead(_ bytes: [UInt8]) -> Int? {
    bytes.withUnsafeBufferPointer { bytes in
      var index = 3
      while index < bytes.count {
        switch bytes[index] {
        case newline:
          if bytes[index - 1] == 13, bytes[index - 2] == newline, bytes[index - 3] == 13 { return index - 3 }
          index += 2
        case 13: index += 1
        default: index += 4
        }
      }
      return nil
    }
  }

  private static func value(of name: StaticString, in line: ArraySlice<UInt8>) -> String? {
    let count = name.utf8CodeUnitCount
    guard line.count > count, line[line.startIndex + count] == UInt8(ascii: ":") else { return nil }
    let matches = UnsafeBufferPointer(start: name.utf8Start, count: count)
    for (index, byte) in matches.enumerated() where line[line.startIndex + index] | 0x20 != byte { return nil }
    let value = line[(line.startIndex + count + 1)...]
    return String(decoding: value.drop { $0 == 32 }.prefix { $0 != 13 }, as: UTF8.self)
  }
}
