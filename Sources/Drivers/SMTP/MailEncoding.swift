extension UInt8 {
  var isLetterOrDigit: Bool {
    switch self {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"):
      true
    default: false
    }
  }

  /// The byte as quoted-printable, encoded words and Message-IDs have it: `=0A`.
  var escaped: String {
    let digits = String(self, radix: 16, uppercase: true)
    return digits.utf8.count == 1 ? "=0\(digits)" : "=\(digits)"
  }
}

/// Encodes text as quoted-printable (RFC 2045, section 6.7). Every kind of line break becomes CRLF.
func quotedPrintable(_ text: String) -> String {
  let (lineFeed, carriageReturn) = (UInt8(ascii: "\n"), UInt8(ascii: "\r"))
  let bytes = Array(text.utf8)
  var (encoded, column) = ("", 0)
  for (index, byte) in bytes.enumerated() {
    let next = index + 1 < bytes.count ? bytes[index + 1] : lineFeed
    if byte == carriageReturn && next == lineFeed && index + 1 < bytes.count { continue }
    if byte == lineFeed || byte == carriageReturn {
      encoded += "\r\n"
      column = 0
      continue
    }
    let isAtEnd = next == lineFeed || next == carriageReturn
    let part = isLiteral(byte, isAtEnd: isAtEnd) ? String(UnicodeScalar(byte)) : byte.escaped
    // A line has at most 76 characters, with the "=" of a soft line break.
    if column + part.utf8.count > 75 {
      encoded += "=\r\n"
      column = 0
    }
    encoded += part
    column += part.utf8.count
  }
  return encoded
}

/// Whether a byte stands for itself. White space at the end of a line does not, since servers may remove it.
private func isLiteral(_ byte: UInt8, isAtEnd: Bool) -> Bool {
  switch byte {
  case UInt8(ascii: " "), UInt8(ascii: "\t"): !isAtEnd
  case UInt8(ascii: "="): false
  default: (0x21...0x7E).contains(byte)
  }
}

/// Encodes a subject or a name. Text that is more than a few plain words becomes encoded words (RFC 2047), one a line.
func encodedHeader(_ text: String) -> String {
  guard !isPlain(text) else { return text }
  // A line has at most 76 characters: "Subject: =?utf-8?q?" and "?=" take 21.
  let limit = 54
  var words = [""]
  // A word never ends within a character's bytes.
  for scalar in text.unicodeScalars {
    let part = String(scalar).utf8.map(encodedWordPart).joined()
    if words[words.count - 1].utf8.count + part.utf8.count > limit { words.append("") }
    words[words.count - 1] += part
  }
  return words.map { "=?utf-8?q?\($0)?=" }.joined(separator: "\r\n ")
}

private func isPlain(_ text: String) -> Bool {
  text.utf8.count <= 60
    && text.split(separator: " ", omittingEmptySubsequences: false)
      .allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy { $0.isLetterOrDigit || $0 == UInt8(ascii: "-") } }
}

private func encodedWordPart(_ byte: UInt8) -> String {
  switch byte {
  case UInt8(ascii: " "): "_"
  default: byte.isLetterOrDigit ? String(UnicodeScalar(byte)) : byte.escaped
  }
}
