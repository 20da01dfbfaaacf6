import Glibc

/// A mail to one recipient, with a text and an HTML part of the same content. Its description is the Message-ID.
public struct Mail: Sendable, CustomStringConvertible {
  public struct Content: Sendable {
    /// One line, without control characters.
    public let subject: String
    public let text: String
    public let html: String

    public init(subject: String, text: String, html: String) {
      self.subject = subject
      self.text = text
      self.html = html
    }
  }

  let from: Mailbox
  let to: Mailbox
  let content: Content
  /// In seconds since 1970.
  let date: Int64
  /// The value of `Message-ID`, with its angle brackets.
  public let messageID: String

  /// - Parameters:
  ///   - key: names this mail for ever, in at most 200 bytes. The Message-ID is made of it and of the sender's domain,
  ///     so that a mail that is sent twice is recognisable.
  ///   - date: when the mail was written, in seconds since 1970, up to the year 9999.
  /// - Throws: `invalidMail` if the key is empty or too long, the date is not in range, or the subject contains a
  ///   control character.
  public init(key: String, from: Mailbox, to: Mailbox, content: Content, date: Int64) throws(SMTPError) {
    guard (1...200).contains(key.utf8.count) else { throw SMTPError(.invalidMail, "the key needs 1 to 200 bytes") }
    guard (0...253_402_300_799).contains(date) else { throw SMTPError(.invalidMail, "the date is out of range") }
    try requireNoControls(in: content.subject, "the subject")
    self.from = from
    self.to = to
    self.content = content
    self.date = date
    messageID = "<\(Self.local(key))@\(from.domain)>"
  }

  public var description: String { messageID }

  /// Other characters than these would need quotes. No two keys give the same text.
  private static func local(_ key: String) -> String {
    key.utf8.map { byte in
      byte.isLetterOrDigit || "-_/".utf8.contains(byte) ? String(UnicodeScalar(byte)) : byte.escaped
    }.joined()
  }

  /// The mail as it is sent: ASCII with lines of at most 998 characters (RFC 5322, section 2.1.1).
  var message: [UInt8] {
    // Quoted-printable never contains "=_".
    let boundary = "=_alternative"
    var lines = [
      "Date: \(Self.text(of: date))", "From: \(from.header)", "To: \(to.header)",
      "Subject: \(encodedHeader(content.subject))", "Message-ID: \(messageID)", "MIME-Version: 1.0",
      // RFC 3834: asks for no automatic replies.
      "Auto-Submitted: auto-generated", "Content-Type: multipart/alternative; boundary=\"\(boundary)\"", "",
    ]
    for (type, body) in [("plain", content.text), ("html", content.html)] {
      lines += [
        "--\(boundary)", "Content-Type: text/\(type); charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "",
        quotedPrintable(body),
      ]
    }
    lines += ["--\(boundary)--", ""]
    return Array(lines.joined(separator: "\r\n").utf8)
  }

  /// Returns the time as RFC 5322 has it. English names: nothing here sets another locale.
  private static func text(of date: Int64) -> String {
    var (time, parts) = (time_t(date), tm())
    gmtime_r(&time, &parts)
    var text = [CChar](repeating: 0, count: 40)
    let count = strftime(&text, text.count, "%a, %d %b %Y %H:%M:%S +0000", &parts)
    return String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
