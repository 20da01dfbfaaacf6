package import CoreMetrics
internal import Synchronization

/// Keeps the metrics of swift-metrics for Prometheus to fetch: counters, gauges, and distributions as histograms.
///
/// The name of a metric is `counterflow_` and its label. A metric that is made again with the same label and dimensions
/// is the same one.
package final class PrometheusMetrics: MetricsFactory {
  /// The name, kind and help text of a metric, known before the metric is made.
  package struct Description: Sendable, Hashable {
    package enum Kind: String, Sendable { case counter, gauge, histogram }
    /// The name at `/metrics`, including `counterflow_`.
    package let name: String
    package let kind: Kind
    package let help: String

    package init(_ name: String, _ kind: Kind, _ help: String) {
      (self.name, self.kind, self.help) = (name, kind, help)
    }
  }

  /// Upper bounds of durations in seconds, from half a millisecond to 30 seconds.
  static let durations = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
  ]
  /// Upper bounds of other values.
  static let sizes: [Double] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000]
  static let prefix = "counterflow_"

  private struct Family {
    let kind: Description.Kind
    var series: [String: any Series] = [:]
  }

  private let families = Mutex<[String: Family]>([:])
  private let help: [String: String]

  package init(_ descriptions: [Description]) {
    help = Dictionary(descriptions.map { ($0.name, $0.help) }) { first, _ in first }
  }

  // MARK: Making metrics
  package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
    series(label, dimensions, .counter) { CounterSeries(name: $0, labels: $1) }
  }

  package func makeFloatingPointCounter(
    label: String, dimensions: [(String, String)]
  ) -> any FloatingPointCounterHandler {
    series(label, dimensions, .counter) { AmountSeries(name: $0, labels: $1) }
  }

  package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
    series(label, dimensions, .gauge) { AmountSeries(name: $0, labels: $1) }
  }

  package func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
    guard aggregate else { return series(label, dimensions, .gauge) { AmountSeries(name: $0, labels: $1) } }
    return series(label, dimensions, .histogram) { HistogramSeries(name: $0, labels: $1, bounds: Self.sizes) }
  }

  package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
    series(label, dimensions, .histogram) { HistogramSeries(name: $0, labels: $1, bounds: Self.durations) }
  }

  // Counters and histograms continue if they are made again. A gauge is removed, since its value would be stale.
  package func destroyCounter(_ handler: any CounterHandler) {}
  package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
  package func destroyTimer(_ handler: any TimerHandler) {}
  package func destroyMeter(_ handler: any MeterHandler) { remove(handler as? AmountSeries) }
  package func destroyRecorder(_ handler: any RecorderHandler) { remove(handler as? AmountSeries) }

  private func series<Made: Series>(
    _ label: String, _ dimensions: [(String, String)], _ kind: Description.Kind, _ make: (String, String) -> Made
  ) -> Made {
    let (name, labels) = (Self.prefix + label, Self.text(of: dimensions))
    return families.withLock { families in
      if let known = families[name]?.series[labels] as? Made { return known }
      precondition(families[name].map { $0.kind == kind } ?? true, "\(name) is used as two kinds of metrics")
      let made = make(name, labels)
      families[name, default: Family(kind: kind)].series[labels] = made
      return made
    }
  }

  private func remove(_ series: AmountSeries?) {
    guard let series else { return }
    families.withLock { $0[series.name]?.series[series.labels] = nil }
  }

  // MARK: Text
  /// All metrics in Prometheus' text format 0.0.4, sorted by name.
  package var text: String {
    let families = families.withLock { $0 }
    var text = ""
    for (name, family) in families.sorted(by: { $0.key < $1.key }) where !family.series.isEmpty {
      Self.begin(name, family.kind, help[name], in: &text)
      for series in family.series.sorted(by: { $0.key < $1.key }) { series.value.write(to: &text) }
    }
    return text
  }

  static func begin(_ name: String, _ kind: Description.Kind, _ help: String?, in text: inout String) {
    if let help { text += "# HELP \(name) \(help)\n" }
    text += "# TYPE \(name) \(kind.rawValue)\n"
  }

  private static func text(of dimensions: [(String, String)]) -> String {
    dimensions.sorted { $0.0 < $1.0 }.map { name, value in
      let escaped = value.map { character in
        switch character {
        case "\\": "\\\\"
        case "\"": "\\\""
        case "\n": "\\n"
        default: String(character)
        }
      }.joined()
      return "\(name)=\"\(escaped)\""
    }.joined(separator: ",")
  }
}
