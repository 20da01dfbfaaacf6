internal import CRabbitMQ
import Glibc

/// How to connect to RabbitMQ.
public struct RabbitMQConfiguration: Sendable {
  /// `amqp://user:password@host:port/vhost`, each part percent-encoded. Never logged. `amqps://` uses TLS 1.2 or newer
  /// and verifies the server's certificate with the system's authorities, or with those of the file in
  /// `?cacertfile=/path`.
  public var url: String
  /// Shown in the broker's list of connections.
  public var connectionName: String
  /// The time limit for connecting, for the login, and for each declaration.
  public var timeout: Duration
  /// The heartbeat interval, in whole seconds. A silent connection is closed after about two intervals.
  public var heartbeat: Duration
  /// How long a published message may wait for its confirm before the connection is closed.
  public var confirmTimeout: Duration
  /// The maximum size of all bodies that wait for confirms, in bytes.
  public var maximumInFlight: Int

  /// Whether the URL is a valid AMQP URL, as far as can be checked without connecting.
  public static func isValid(url: String) -> Bool {
    guard let (text, _) = parts(of: url) else { return false }
    let copy = strdup(text)
    defer { free(copy) }
    var info = amqp_connection_info()
    guard amqp_parse_url(copy, &info) == AMQP_STATUS_OK.rawValue else { return false }
    return (1...65_535).contains(info.port) && !String(cString: info.host).isEmpty
  }

  /// The system's certificates, used if the URL names no file.
  private static let systemCertificates = "/etc/ssl/certs/ca-certificates.crt"

  /// Returns the URL without its query, and the certificates to trust if it is an amqps URL; nil if it is not valid.
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
