import ArgumentParser

/// A latency objective, such as `p99<50ms`.
struct Objective: ExpressibleByArgument, CustomStringConvertible {
  let figure: String
  /// In milliseconds.
  let bound: Double

  var description: String { "\(figure)<\(bound.plain)ms" }

  init?(argument: String) {
    let text = argument.replacing(" ", with: "")
    guard let match = text.wholeMatch(of: /(mean|p50|p90|p95|p99|p99\.9|max)<([0-9]+(?:\.[0-9]+)?)(ms|s)/),
      let number = Double(match.2), number > 0
    else { return nil }
    figure = String(match.1)
    bound = match.3 == "s" ? number * 1000 : number
  }

  /// The maximum share of failed requests, and the minimum share of the offered rate that must be completed.
  static let tolerance = (errors: 0.001, answered: 0.97)

  func isKept(by result: TrialResult) -> Bool {
    guard let value = result.latency?[figure], value < bound, result.errorShare <= Self.tolerance.errors else {
      return false
    }
    guard let offered = result.offeredPerSecond else { return true }
    // The last requests may still be under way at the end, for as long as the objective allows.
    let underWay = offered * min(bound / 1000, result.seconds)
    return result.completedPerSecond * result.seconds + underWay >= offered * result.seconds * Self.tolerance.answered
  }
}

/// Finds the highest rate that keeps an objective: doubles the rate until one fails, then bisects.
struct RateSearch {
  /// The search ends when the lowest failed rate is at most this share above the highest kept rate.
  static let precision = 0.05
  static let highest = 1_000_000.0

  private(set) var kept: Double?
  private(set) var broken: Double?
  private let first: Double

  init(from first: Double) { self.first = first }

  /// The next rate to try; nil when the search is over.
  var next: Double? {
    switch (kept, broken) {
    case (nil, nil): return first
    case (nil, let broken?): return broken > 2 ? broken / 2 : nil
    case (let kept?, nil): return kept * 2 <= Self.highest ? kept * 2 : nil
    case (let kept?, let broken?):
      guard broken / kept > 1 + Self.precision else { return nil }
      let middle = ((kept + broken) / 2).rounded()
      return middle > kept && middle < broken ? middle : nil
    }
  }

  mutating func tried(_ rate: Double, isKept: Bool) {
    if isKept { kept = max(kept ?? 0, rate) } else { broken = min(broken ?? .infinity, rate) }
  }
}

extension Double {
  /// The number with at most one decimal, and none if it is 0.
  var plain: String {
    let rounded = (self * 10).rounded() / 10
    return rounded == rounded.rounded() ? String(Int(rounded)) : String(rounded)
  }
}
