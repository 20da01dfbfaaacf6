internal import CRabbitMQ
import Glibc

/// Where and how to connect.
public struct RabbitMQConfiguration: Sendable {
  /// `amqp://user:password@host:port/vhost`, each part percent-encoded. Never logged. `amqps://` is over TLS, 1.2 or newer; the
  /// server's certificate is checked against the system's, or those of the file in `?cacertfile=/path`.
  public var url: String
  /// Shown in the broker's list of connections.
  public var connectionName: String
  /// Bound on connecting, on the login, and on each declaration.
  public var timeout: Duration
  /// Heartbeat interval, in whole seconds: a silent peer is given up after about two of them.
  public var heartbeat: Duration
  /// How long a published message may wait for its confirm before the connection is given up.
  public var confirmTimeout: Duration
  /// Bound on the bytes of bodies that wait for confirms.
  public var maximumInFlight: Int

  /// Whether a URL is one of AMQP, as far as it shows without connecting.
  public static func isValid(url: String) -> Bool {
    guard let (text, _) = parts(of: url) else { return false }
    let copy = strdup(text)
    defer { free(copy) }
    var info = amqp_connection_info()
    guard amqp_parse_url(copy, &info) == AMQP_STATUS_OK.rawValue else { return false }
    return (1...65_535).contains(info.port) && !String(cString: info.host).isEmpty
  }

  /// The system's certificates, where no file of others is named.
  private static let systemCertificates = "/etc/ssl/certs/ca-certificates.crt"

  /// The URL without its query, and the certificates to trust where it is one of TLS; nil for a URL of neither kind.
  static func parts(of url: String) -> (url: String, certificates: String?)? {
    if url.hasPrefix("amqp://") { return url.contains("?") ? nil : (url, nil) }
    guard url.hasPrefix("amqps://") else { return nil }
    let parts = url.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count > 1 else { return (url, systemCertificates) }
    let name = "cacertfile="
    guard parts[1].hasPrefix(name), !parts[1].contains("&"), parts[1].utf8.count > name.utf8.count else { return nil }
    return (parts[0], String(parts[1].dropFirst(name.count)))
  }

  public init(
    url: String,
    connectionName: String = "counterflow",
    timeout: Duration = .seconds(5),
    heartbeat: Duration = .seconds(10),
    confirmTimeout: Duration = .seconds(15),
    maximumInFlight: Int = 16 * 1024 * 1024
  ) {
    self.url = url
    self.connectionName = connectionName
    self.timeout = timeout
    self.heartbeat = heartbeat
    self.confirmTimeout = confirmTimeout
    self.maximumInFlight = maximumInFlight
  }
}
