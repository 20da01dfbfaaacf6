import SMTP
import TestSupport

extension TestMailServer {
  /// - Parameter trusted: whether the address names the server's certificate.
  func address(
    user: String? = Self.user, password: String = Self.password, host: String = "127.0.0.1", trusted: Bool = true
  ) throws -> SMTPServer {
    try SMTPServer(url: url(user: user, password: password, host: host, trusted: trusted))
  }
}
