import Histogram

/// Latencies in milliseconds.
struct Latency: Codable, Sendable {
  let count: UInt64
  let mean: Double
  let p50: Double
  let p90: Double
  let p95: Double
  let p99: Double
  /// nil where there are too few to tell: fewer than a thousand have no thousandth part.
  let p999: Double?
  let max: Double
  /// Pairs of a percentile and its latency, for a curve.
  let curve: [[Double]]

  /// nil where nothing was recorded.
  init?(_ histogram: Histogram<UInt64>) {
    guard histogram.totalCount > 0 else { return nil }
    func at(_ percentile: Double) -> Double { Double(histogram.valueAtPercentile(percentile)) / 1000 }
    count = histogram.totalCount
    mean = histogram.mean / 1000
    (p50, p90, p95, p99) = (at(50), at(90), at(95), at(99))
    p999 = count < 1000 ? nil : at(99.9)
    max = Double(histogram.max) / 1000
    // The slowest one is as far out as that many can tell.
    let last = 100 - 100 / Double(count)
    curve = Self.percentiles.filter { $0 < last }.map { [$0, at($0)] } + [[last, max]]
  }

  private static let percentiles =
    Array(stride(from: 0.0, to: 90, by: 5)) + [90, 92.5, 95, 97, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99]

  /// - Parameter name: as an objective names it. What too few were measured for is no better than their maximum.
  subscript(name: String) -> Double? {
    ["mean": mean, "p50": p50, "p90": p90, "p95": p95, "p99": p99, "p99.9": p999 ?? max, "max": max][name]
  }
}

extension Histogram<UInt64> {
  /// Microseconds up to ten minutes, to three digits.
  static var ofLatencies: Self { Histogram(highestTrackableValue: 600_000_000, numberOfSignificantValueDigits: .three) }
}

/// What came of one kind of request, or of whole journeys.
struct OperationResult: Codable, Sendable {
  let name: String
  let latency: Latency?
  /// By what went wrong.
  let errors: [String: Int]
}

/// What one second has seen. Latencies in milliseconds, of answers that came in it.
struct SecondResult: Codable, Sendable {
  /// From the beginning of what is measured.
  let second: Int
  let offered: Int
  let answered: Int
  let errors: Int
  let p50: Double?
  let p99: Double?
  let max: Double?
  /// Of the read model that is furthest behind; nil where it is not known.
  let lagSeconds: Double?
  let lagPositions: Double?
}

struct TrialResult: Codable, Sendable {
  let profile: String
  /// `open` where requests are sent when they are due, `closed` where each connection waits for its answer.
  let loop: String
  /// Requests, or journeys, that were to begin in a second; nil in a closed loop.
  let offeredPerSecond: Double?
  let seconds: Double
  let connections: Int
  /// Requests that were answered well, and journeys that came to their end, while it was measured.
  let answeredPerSecond: Double
  let completedPerSecond: Double
  let errors: Int
  /// All requests together, also of those that were answered later.
  let latency: Latency?
  let operations: [OperationResult]
  /// From a write's acknowledgement until a read with its token answered.
  let visibility: Latency?
  let timeline: [SecondResult]
  /// Of the load generator: processor time as a share of one core.
  let ownCores: Double

  /// How often each went wrong, whatever the request was.
  var reasons: [String: Int] { operations.reduce(into: [:]) { $0.merge($1.errors, uniquingKeysWith: +) } }

  var errorShare: Double { Double(errors) / max(1, Double(errors) + Double(latency?.count ?? 0)) }
}

/// Everything that one run has found.
struct Report: Codable, Sendable {
  struct Search: Codable, Sendable {
    let profile: String
    let objective: String
    /// What the objective is about, such as `p99`.
    let figure: String
    /// The highest rate that kept it; nil for none.
    let found: Double?
    let attempts: [Attempt]
  }

  struct Attempt: Codable, Sendable {
    let rate: Double
    let answeredPerSecond: Double
    let value: Double?
    let errors: Int
    /// How often each of them came.
    let reasons: [String: Int]
    let isKept: Bool
  }

  /// Something that was done to the system meanwhile.
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
