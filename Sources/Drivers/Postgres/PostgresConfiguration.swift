internal import CLibPQ

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
  /// How long a cancelled statement may take to stop before the connection is dropped. A server process that hangs hears
  /// no request to cancel: its caller waits for so much longer than the time allowed.
  public var cancelGrace: Duration

  /// What is wrong with a connection URI or string, as far as it shows without connecting; nil for nothing.
  public static func problem(withURL url: String) -> String? {
    var message: UnsafeMutablePointer<CChar>?
    guard let options = PQconninfoParse(url, &message) else {
      defer { PQfreemem(message) }
      return message.map { String(cString: $0).filter { !$0.isNewline } } ?? "out of memory"
    }
    defer { PQconninfoFree(options) }
    var option = options
    while let keyword = option.pointee.keyword {
      if String(cString: keyword) == "port", let value = option.pointee.val {
        let ports = String(cString: value).split(separator: ",")
        guard ports.allSatisfy({ Int($0).map { (1...65_535).contains($0) } ?? false }) else { return "no such port" }
      }
      option += 1
    }
    return nil
  }

  public init(
    url: String,
    applicationName: String = "counterflow",
    connectTimeout: Duration = .seconds(5),
    statementTimeout: Duration = .seconds(30),
    unacknowledgedTimeout: Duration = .seconds(15),
    cancelGrace: Duration = .seconds(1)
  ) {
    self.url = url
    self.applicationName = applicationName
    self.connectTimeout = connectTimeout
    self.statementTimeout = statementTimeout
    self.unacknowledgedTimeout = unacknowledgedTimeout
    self.cancelGrace = cancelGrace
  }
}

extension PostgresConfiguration {
  /// A URL for each of the hosts that a URL names: `postgres://u@a:1,b:2/d` is `postgres://u@a:1/d` and `postgres://u@b:2/d`. One
  /// that names no host stays as it is.
  public static func urlsOfEachHost(_ url: String) -> [String] {
    guard let range = hosts(in: url) else { return [url] }
    let hosts = url[range].split(separator: ",")
    guard hosts.count > 1 else { return [url] }
    return hosts.map { String(url[..<range.lowerBound]) + String($0) + String(url[range.upperBound...]) }
  }

  /// The host and port that a URL names, for people; `local` where it names none.
  public static func host(ofURL url: String) -> String {
    guard let range = hosts(in: url), !range.isEmpty else { return "local" }
    return String(url[range])
  }

  private static func hosts(in url: String) -> Range<String.Index>? {
    guard let scheme = url.firstMatch(of: /:\/\//)?.range else { return nil }
    let end = url[scheme.upperBound...].firstIndex { "/?#".contains($0) } ?? url.endIndex
    let authority = url[scheme.upperBound..<end]
    return (authority.lastIndex(of: "@").map { url.index(after: $0) } ?? authority.startIndex)..<end
  }
}
