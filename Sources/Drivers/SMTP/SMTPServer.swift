internal import CCurl

/// A mail server, and how to log in to it. Its description has neither the user nor the password.
///
/// The URL is `smtp://user:password@host:port` or `smtps://user:password@host:port`; user and password are
/// percent-encoded, and optional together. Ports are 587 and 465 by default. `?cacertfile=/path` names the only
/// certificates to trust; without it, those of the system are trusted.
///
/// - `smtps` uses TLS from the start.
/// - `smtp` with a login or a `cacertfile` requires STARTTLS, unless it is a login on this machine's loopback.
/// - `smtp` without both uses STARTTLS if the server offers it. On this machine's loopback it uses none.
public struct SMTPServer: Sendable, CustomStringConvertible {
  enum Encryption: Sendable, Equatable { case never, ifOffered, required, fromTheStart }

  struct Login: Sendable, Equatable {
    let user: String
    let password: String
  }

  /// A name or an address; one of IPv6 has brackets.
  let host: String
  let port: Int
  let encryption: Encryption
  let login: Login?
  /// The file with the certificates to trust; nil for those of the system.
  let certificates: String?

  /// - Throws: `invalidURL`, whose message does not contain the URL.
  public init(url: String) throws(SMTPError) {
    guard url.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else { throw .invalidURL("it contains spaces") }
    let parser = try URLParser()
    try parser.parse(url)
    let scheme = try parser.part(CURLUPART_SCHEME)
    guard let scheme, ["smtp", "smtps"].contains(scheme) else { throw .invalidURL("it has another scheme") }
    guard let host = try parser.part(CURLUPART_HOST), !host.isEmpty else { throw .invalidURL("it names no host") }
    // libcurl takes what follows a ";" in the user or the password as an option.
    guard try parser.part(CURLUPART_OPTIONS) == nil else { throw .invalidURL("its login contains a \";\"") }
    guard try parser.part(CURLUPART_FRAGMENT) == nil, try parser.part(CURLUPART_PATH) == "/" else {
      throw .invalidURL("something other than ?cacertfile=/path follows the host")
    }
    self.host = host
    port = try Self.port(parser.part(CURLUPART_PORT), scheme)
    login = try Self.login(parser)
    certificates = try Self.certificates(parser.part(CURLUPART_QUERY))
    encryption =
      switch (scheme, Self.isLoopback(host)) {
      case ("smtps", _): .fromTheStart
      case _ where certificates != nil: .required
      case (_, true): .never
      case (_, false): login == nil ? .ifOffered : .required
      }
  }

  private var scheme: String { encryption == .fromTheStart ? "smtps" : "smtp" }
  /// The URL without the login.
  public var description: String { "\(scheme)://\(host):\(port)" }

  private static func port(_ text: String?, _ scheme: String) throws(SMTPError) -> Int {
    guard let text else { return scheme == "smtps" ? 465 : 587 }
    guard let port = Int(text), (1...65_535).contains(port) else { throw .invalidURL("there is no such port") }
    return port
  }

  private static func login(_ parser: borrowing URLParser) throws(SMTPError) -> Login? {
    let user = try parser.part(CURLUPART_USER, decoded: true)
    let password = try parser.part(CURLUPART_PASSWORD, decoded: true)
    switch (user, password) {
    case (nil, nil): return nil
    case (let user?, let password?) where !user.isEmpty && !password.isEmpty:
      return Login(user: user, password: password)
    default: throw .invalidURL("it needs both a user and a password, or neither")
    }
  }

  private static func certificates(_ query: String?) throws(SMTPError) -> String? {
    guard let query else { return nil }
    let name = "cacertfile="
    guard query.hasPrefix(name), !query.contains("&"), query.utf8.count > name.utf8.count else {
      throw .invalidURL("only ?cacertfile=/path may follow")
    }
    return String(query.dropFirst(name.count))
  }

  private static func isLoopback(_ host: String) -> Bool {
    let bytes = host.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
    return host.lowercased() == "localhost" || host == "[::1]"
      || (bytes.count == 4 && bytes[0] == 127 && !bytes.contains(nil))
  }
}

extension SMTPError {
  fileprivate static func invalidURL(_ problem: String) -> SMTPError {
    SMTPError(
      .invalidURL,
      "the URL must be smtp://user:password@host:port or smtps://user:password@host:port, with all but letters and "
        + "digits of user and password percent-encoded: \(problem)")
  }
}

/// libcurl's own parser. The type cannot be copied, so the memory is freed exactly once.
private struct URLParser: ~Copyable {
  private let raw: OpaquePointer

  init() throws(SMTPError) {
    guard let raw = curl_url() else { throw SMTPError(.connectionFailed, "out of memory") }
    self.raw = raw
  }

  deinit { curl_url_cleanup(raw) }

  func parse(_ url: String) throws(SMTPError) {
    let status = curl_url_set(raw, CURLUPART_URL, url, 0)
    guard status == CURLUE_OK else { throw .invalidURL(String(cString: curl_url_strerror(status))) }
  }

  /// Returns a part of the URL; nil if the URL does not have it.
  func part(_ part: CURLUPart, decoded: Bool = false) throws(SMTPError) -> String? {
    var text: UnsafeMutablePointer<CChar>?
    let status = curl_url_get(raw, part, &text, decoded ? UInt32(CURLU_URLDECODE) : 0)
    defer { curl_free(text) }
    switch status {
    case CURLUE_OK: break
    case CURLUE_NO_USER, CURLUE_NO_PASSWORD, CURLUE_NO_OPTIONS, CURLUE_NO_PORT, CURLUE_NO_QUERY, CURLUE_NO_FRAGMENT:
      return nil
    default: throw .invalidURL(String(cString: curl_url_strerror(status)))
    }
    guard let text, let part = String(validatingCString: text) else { throw .invalidURL("it is not UTF-8") }
    return part
  }
}
