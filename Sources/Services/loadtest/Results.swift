import Histogram

/// Latencies in milliseconds.
struct Latency: Codable, Sendable {
  let count: UInt64
  let mean: Double
  let p50: Double
  let p90: Double
  let p95: Double
  let p99: Double
  /// nil with fewer than 1,000 requests, which are too few for this percentile.
  let p999: Double?
  let max: Double
  /// Pairs of a percentile and its latency, for the chart.
  let curve: [[Double]]

  /// Returns nil if nothing was recorded.
  init?(_ histogram: Histogram<UInt64>) {
    guard histogram.totalCount > 0 else { return nil }
    func at(_ percentile: Double) -> Double { Double(histogram.valueAtPercentile(percentile)) / 1000 }
    count = histogram.totalCount
    mean = histogram.mean / 1000
    (p50, p90, p95, p99) = (at(50), at(90), at(95), at(99))
    p999 = count < 1000 ? nil : at(99.9)
    max = Double(histogram.max) / 1000
    // The maximum belongs to the highest percentile that this many requests can show.
    let last = 100 - 100 / Double(count)
    curve = Self.percentiles.filter { $0 < last }.map { [$0, at($0)] } + [[last, max]]
  }

  private static let percentiles =
    Array(stride(from: 0.0, to: 90, by: 5)) + [90, 92.5, 95, 97, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99]

  /// - Parameter name: as in an objective, such as p99. With too few requests for p99.9, that is the maximum.
  subscript(name: String) -> Double? {
    ["mean": mean, "p50": p50, "p90": p90, "p95": p95, "p99": p99, "p99.9": p999 ?? max, "max": max][name]
  }
}

extension Histogram<UInt64> {
  /// Microseconds up to ten minutes, with three significant digits.
  static var ofLatencies: Self { Histogram(highestTrackableValue: 600_000_000, numberOfSignificantValueDigits: .three) }
}

/// The results of one kind of request, or of whole journeys.
struct OperationResult: Codable, Sendable {
  let name: String
  let latency: Latency?
  /// The number of errors by reason.
  let errors: [String: Int]
}

/// The results of one second. Latencies are in milliseconds, of the responses that arrived in this second.
struct SecondResult: Codable, Sendable {
  /// Counted from the beginning of the measurement.
  let second: Int
  let offered: Int
  let answered: Int
  let errors: Int
  let p50: Double?
  let p99: Double?
  let max: Double?
  /// The lag of the read model that is furthest behind; nil if it is not known.
  let lagSeconds: Double?
  let lagPositions: Double?
}

struct TrialResult: Codable, Sendable {
  let profile: String
  /// `open`: requests are sent when they are due. `closed`: each connection waits for its response.
  let loop: String
  /// Requests, or journeys, that should begin per second; nil in a closed loop.
  let offeredPerSecond: Double?
  let seconds: Double
  let connections: Int
  /// Successful requests, and completed journeys, before the end of the measurement.
  let answeredPerSecond: Double
  let completedPerSecond: Double
  let errors: Int
  /// The latency of all measured requests, including those with a later response.
  let latency: Latency?
  let operations: [OperationResult]
  /// The time from a write's response until a read with its token is answered.
  let visibility: Latency?
  let timeline: [SecondResult]
  /// The processor time of the load generator, as a share of one core.
  let ownCores: Double

  /// The number of errors by reason, over all operations.
  var reasons: [String: Int] { operations.reduce(into: [:]) { $0.merge($1.errors, uniquingKeysWith: +) } }

  var errorShare: Double { Double(errors) / max(1, Double(errors) + Double(latency?.count ?? 0)) }
}

/// The results of one run.
struct Report: Codable, Sendable {
  struct Search: Codable, Sendable {
    let profile: String
    let objective: String
    /// The figure in the objective, such as `p99`.
    let figure: String
    /// The highest rate that kept the objective; nil if no rate did.
    let found: Double?
    let attempts: [Attempt]
  }

  struct Attempt: Codable, Sendable {
    let rate: Double
    let answeredPerSecond: Double
    let value: Double?
    let errors: Int
    /// The number of errors by reason.
    let reasons: [String: Int]
    let isKept: Bool
  }

  /// An action on the system during the run.
  struct Mark: Codable, Sendable {
    let second: Double
    let text: String
  }

  let title: String
  let began: String
  let machine: String
  let commands: [String]
  let queries: [String]
  var trials: [TrialResult] = []
  var searches: [Search] = []
  var marks: [Mark] = []
}
