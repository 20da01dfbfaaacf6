internal import CLibPQ

/// How to connect to PostgreSQL.
public struct PostgresConfiguration: Sendable {
  /// A libpq connection URI or keyword string. Several hosts, `sslmode`, `target_session_attrs` and all other
  /// parameters work as libpq documents them. It may contain a password and is never logged.
  public var url: String
  /// The name shown in `pg_stat_activity`.
  public var applicationName: String
  /// The time limit for connecting, including authentication.
  public var connectTimeout: Duration
  /// The time limit of one statement, unless a call gives another.
  public var statementTimeout: Duration
  /// How long sent data may stay unacknowledged before the kernel drops the connection (TCP_USER_TIMEOUT), in whole
  /// milliseconds. This detects a host that vanished.
  public var unacknowledgedTimeout: Duration
  /// How long a cancelled statement may take to stop before the connection is dropped. A hung server process does not
  /// react to a cancel request, so its caller waits this much longer than the time limit.
  public var cancelGrace: Duration

  /// Returns the problem with a connection URI or string, as far as can be checked without connecting; nil if it is
  /// valid.
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
  /// Returns one URL for each host: `postgres://u@a:1,b:2/d` becomes `postgres://u@a:1/d` and `postgres://u@b:2/d`. A
  /// URL without a host stays as it is.
  public static func urlsOfEachHost(_ url: String) -> [String] {
    guard let range = hosts(in: url) else { return [url] }
    let hosts = url[range].split(separator: ",")
    guard hosts.count > 1 else { return [url] }
    return hosts.map { String(url[..<range.lowerBound]) + String($0) + String(url[range.upperBound...]) }
  }

  /// Returns the hosts and ports in a URL, for people to read; `local` if it names none.
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
