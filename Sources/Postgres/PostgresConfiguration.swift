/// Where and how to connect.
public struct PostgresConfiguration: Sendable {
  /// A libpq connection URI or keyword string; several hosts, `sslmode`, `target_session_attrs` and the
  /// rest pass through as documented by libpq. It may hold a password and is never logged.
  public var url: String
  /// Shown in `pg_stat_activity`.
  public var applicationName: String
  /// Bound on making a connection, authentication included.
  public var connectTimeout: Duration
  /// Bound on one statement, unless a call gives its own.
  public var statementTimeout: Duration
  /// How long sent data may stay unacknowledged before the kernel drops the connection
  /// (TCP_USER_TIMEOUT), in whole milliseconds: finds a host that vanished.
  public var unacknowledgedTimeout: Duration

  public init(
    url: String,
    applicationName: String = "counterflow",
    connectTimeout: Duration = .seconds(5),
    statementTimeout: Duration = .seconds(30),
    unacknowledgedTimeout: Duration = .seconds(15)
  ) {
    self.url = url
    self.applicationName = applicationName
    self.connectTimeout = connectTimeout
    self.statementTimeout = statementTimeout
    self.unacknowledgedTimeout = unacknowledgedTimeout
  }
}
