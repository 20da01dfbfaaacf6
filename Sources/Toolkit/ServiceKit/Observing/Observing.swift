internal import HTTPKit
internal import Hummingbird
internal import Logging
internal import Metrics
package import Observability
internal import Postgres
internal import ServiceLifecycle
package import SettingsKit
internal import Tracing

/// Metrics, logs and traces of a process.
package enum Observing {
  /// All values that this process reports to swift-metrics.
  package static let metrics = PrometheusMetrics(MetricCatalogue.all)

  /// `METRICS_TOKEN`: the bearer token that `/metrics` requires.
  package static let metricsToken = Setting.optional(
    "METRICS_TOKEN", allowed: "none, or a secret",
    help: "The bearer token that /metrics and /scale require (in Prometheus: authorization).", isSecret: true)

  /// The format of log lines on standard error.
  package enum LogFormat: String, Sendable {
    /// Text for people.
    case text
    /// One JSON object on each line.
    case json
  }

  /// `LOG_FORMAT`: the format of log lines.
  package static let logFormat = Setting(
    "LOG_FORMAT", default: "text", allowed: "text or json", help: "The format of the log lines on standard error."
  ) { LogFormat(rawValue: $0) }

  /// `OTEL_EXPORTER_OTLP_ENDPOINT`: where spans are sent.
  package static let traceEndpoint = Setting.optional(
    "OTEL_EXPORTER_OTLP_ENDPOINT", allowed: "none, or the URL of a collector, such as http://127.0.0.1:4318",
    help: "The URL to which spans are sent, as OTLP over HTTP with JSON; `none` turns tracing off.")

  /// `OTEL_TRACES_SAMPLER_ARG`: the share of traces that are exported, from 0 to 1.
  package static let traceRatio = Setting(
    "OTEL_TRACES_SAMPLER_ARG", default: "1", allowed: "a share from 0 to 1",
    help: "The share of the traces that start here that are exported. A traceparent header decides for the others."
  ) { text in Double(text).flatMap { (0...1).contains($0) ? $0 : nil } }

  /// All settings of logs, metrics and traces.
  package static let all = [
    metricsToken.description, logFormat.description, traceEndpoint.description, traceRatio.description,
  ]

  /// Must be called once, before the first log line or metric.
  static func begin(_ name: String, _ settings: Settings) throws(SettingError) {
    ProcessStatistics.begin()
    MetricsSystem.bootstrap(metrics)
    Gauge(label: "process_info", dimensions: [("service", name)]).record(1)
    Gauge(label: "build_info", dimensions: [("version", PackageVersion.current.description)]).record(1)
    let format = try settings[logFormat]
    let bootstrap: @Sendable (String, Logger.MetadataProvider?) -> any LogHandler = { label, metadata in
      switch format {
      case .text: StreamLogHandler(label: label, stream: LogLines(), metadataProvider: metadata)
      case .json: JSONLogHandler(label: label, metadataProvider: metadata)
      }
    }
    LoggingSystem.bootstrap(bootstrap, metadataProvider: Traces.metadata)
  }

  /// Turns tracing on if a collector is configured.
  /// - Returns: the service that sends the spans while the process runs.
  static func beginTracing(_ name: String, _ settings: Settings, _ logger: Logger) throws(SettingError) -> [any Service]
  {
    guard let endpoint = try settings[traceEndpoint] else { return [] }
    guard let exporter = SpanExporter(endpoint, service: name, logger: logger) else {
      throw SettingError(traceEndpoint, "is '\(endpoint)'")
    }
    InstrumentationSystem.bootstrap(OTLPTracer(exporter, ratio: try settings[traceRatio]))
    return [Exporting(exporter: exporter)]
  }

  private struct Exporting: Service {
    let exporter: SpanExporter
    func run() async { await cancelWhenGracefulShutdown { await self.exporter.run() } }
  }

  /// What `/metrics` says.
  package static var text: String { metrics.text + ProcessStatistics.text }
}

extension Router {
  /// Adds `/metrics`, in Prometheus's text format.
  func addMetrics(_ settings: Settings) throws(SettingError) {
    let access = try MetricsAccess(settings)
    get("/metrics") { request, _ in
      try access.admit(request)
      return Response(
        status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8", .cacheControl: "no-store"],
        body: ResponseBody(byteBuffer: ByteBuffer(string: Observing.text)))
    }
  }
}
