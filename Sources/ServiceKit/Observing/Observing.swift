internal import Hummingbird
internal import Logging
internal import Metrics
public import Observability

/// What a process says of itself: metrics and logs.
public enum Observing {
  /// Everything that swift-metrics is told in this process.
  public static let metrics = PrometheusMetrics(MetricCatalogue.all)

  public static let metricsToken = Setting.optional(
    "METRICS_TOKEN", allowed: "none, or a secret",
    help: "With it, /metrics is only for who sends it as a bearer token (Prometheus: authorization).", isSecret: true)

  public enum LogFormat: String, Sendable { case text, json }

  public static let logFormat = Setting(
    "LOG_FORMAT", default: "text", allowed: "text or json", help: "How log lines are written, to standard error."
  ) { LogFormat(rawValue: $0) }

  public static let all = [metricsToken.description, logFormat.description]

  /// Called once, before anything is logged or counted.
  static func begin(_ name: String, _ settings: Settings) throws(SettingError) {
    ProcessStatistics.begin()
    MetricsSystem.bootstrap(metrics)
    Gauge(label: "process_info", dimensions: [("service", name)]).record(1)
    let format = try settings[logFormat]
    LoggingSystem.bootstrap { label in
      switch format {
      case .text: StreamLogHandler.standardError(label: label)
      case .json: JSONLogHandler(label: label)
      }
    }
  }

  static var text: String { metrics.text + ProcessStatistics.text }
}

extension Router {
  /// Adds `/metrics`, in Prometheus' text format.
  func addMetrics(_ settings: Settings) throws(SettingError) {
    let token = try settings[Observing.metricsToken].map { Array("Bearer \($0)".utf8) }
    get("/metrics") { request, _ in
      if let token, !constantTimeEqual(Array((request.headers[.authorization] ?? "").utf8), token) {
        throw Problem(
          .unauthorized, "unauthenticated", title: "Not known",
          detail: "Send METRICS_TOKEN as a bearer token.", headers: [.wwwAuthenticate: #"Bearer realm="metrics""#])
      }
      return Response(
        status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8", .cacheControl: "no-store"],
        body: ResponseBody(byteBuffer: ByteBuffer(string: Observing.text)))
    }
  }
}

/// Takes as long for a guess that begins right as for one that does not.
private func constantTimeEqual(_ guess: [UInt8], _ secret: [UInt8]) -> Bool {
  guard guess.count == secret.count else { return false }
  return zip(guess, secret).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
}
