internal import CRabbitMQ
import Glibc

/// Where and how to connect.
public struct RabbitMQConfiguration: Sendable {
  /// `amqp://user:password@host:port/vhost`, each part percent-encoded. Never logged.
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
    guard url.hasPrefix("amqp://") else { return false }
    let text = strdup(url)
    defer { free(text) }
    var info = amqp_connection_info()
    guard amqp_parse_url(text, &info) == AMQP_STATUS_OK.rawValue else { return false }
    return (1...65_535).contains(info.port) && !String(cString: info.host).isEmpty
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
