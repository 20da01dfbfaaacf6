/// Whom a mail is from or to. Its description does not contain the address, so that no log does.
public struct Mailbox: Sendable, Hashable, CustomStringConvertible {
  public let name: String?
  public let address: String

  /// - Parameters:
  ///   - name: shown in place of the address. It must not contain control characters.
  ///   - address: at most 254 characters of ASCII, with a local part that needs no quotes (RFC 5321, section 4.1.2).
  ///     Write the domain in Punycode if it has other characters.
  /// - Throws: `invalidMail`.
  public init(name: String? = nil, address: String) throws(SMTPError) {
    guard Self.isAddress(address) else { throw SMTPError(.invalidMail, "SMTP cannot carry the address") }
    if let name { try requireNoControls(in: name, "a name") }
    self.name = name.flatMap { $0.isEmpty ? nil : $0 }
    self.address = address
  }

  public var description: String { "a mailbox" }

  /// What follows the `@`.
  var domain: Substring { address.drop { $0 != "@" }.dropFirst() }

  /// The value of `From` and `To`.
  var header: String {
    guard let name else { return "<\(address)>" }
    return "\(encodedHeader(name))\r\n <\(address)>"
  }

  private static func isAddress(_ text: String) -> Bool {
    let parts = text.utf8.split(separator: UInt8(ascii: "@"), omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0].count <= 64, text.utf8.count <= 254 else { return false }
    return isDotted(parts[0]) { $0.isLetterOrDigit || atomSymbols.contains($0) }
      && isDotted(parts[1]) { $0.isLetterOrDigit || $0 == UInt8(ascii: "-") }
  }

  private static let atomSymbols = Set("!#$%&'*+-/=?^_`{|}~".utf8)

  private static func isDotted(_ text: Substring.UTF8View, of isAllowed: (UInt8) -> Bool) -> Bool {
    text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
      .allSatisfy { !$0.isEmpty && $0.allSatisfy(isAllowed) }
  }
}

/// A line break in a header would begin another header.
func requireNoControls(in text: String, _ what: String) throws(SMTPError) {
  guard !text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else {
    throw SMTPError(.invalidMail, "\(what) contains a control character")
  }
}
