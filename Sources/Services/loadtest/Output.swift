import Foundation

/// Progress and results on standard error. Progress is one changing line on a terminal, and plain lines in a pipe.
final class Output: Sendable {
  private let isTerminal = isatty(2) == 1

  func say(_ line: String) { write((isTerminal ? "\r\u{1B}[K" : "") + line + "\n") }

  func begin(_ name: String, _ settings: Trial.Settings) {
    let load =
      switch settings.schedule {
      case .open(let first, let last) where first == last: "\(first.plain)/s"
      case .open(let first, let last): "\(first.plain) to \(last.plain)/s"
      case .closed: "\(settings.connections) connections, each waits for its response"
      }
    say("\(name): \(load), warm-up \(settings.warmUp.plain) s, measurement \(settings.duration.plain) s")
  }

  func show(_ second: SecondResult, isMeasured: Bool) {
    var line = "\(isMeasured ? " " : "~")\(pad(String(second.second), 4)) s"
    line += "  \(pad(String(second.answered), 7))/s"
    line += "  p50 \(pad(milliseconds(second.p50), 8))  p99 \(pad(milliseconds(second.p99), 8))"
    line += "  errors \(second.errors)"
    if let positions = second.lagPositions {
      line += "  lag \(Int(positions)) events, \((second.lagSeconds ?? 0).plain) s"
    }
    isTerminal ? write("\r\u{1B}[K" + line) : write(line + "\n")
  }

  func show(_ attempt: Report.Attempt, _ objective: Objective) {
    say(
      "\(attempt.rate.plain)/s: \(objective.figure) \(milliseconds(attempt.value)), \(attempt.errors) errors, "
        + (attempt.isKept ? "objective met" : "objective missed"))
    show(attempt.reasons)
  }

  func showFound(_ rate: Double?, _ objective: Objective, _ name: String) {
    say(rate.map { "\(name): \(objective) is met up to \($0.plain)/s" } ?? "\(name): no rate meets \(objective)")
  }

  func show(_ result: TrialResult) {
    say("")
    let journeys = result.completedPerSecond.plain
    let both = journeys == result.answeredPerSecond.plain ? "" : ", \(journeys) journeys completed per second"
    say("\(result.profile): \(result.answeredPerSecond.plain) responses per second, \(result.errors) errors\(both)")
    let names = result.operations.map(\.name) + (result.visibility == nil ? [] : ["visible after"])
    let width = max(12, names.map(\.count).max() ?? 0)
    say(
      "  " + "".padding(toLength: width, withPad: " ", startingAt: 0)
        + ["count", "p50", "p90", "p99", "p99.9", "max"].map { pad($0, 10) }.joined())
    for operation in result.operations {
      say(row(operation.name, operation.latency, width))
      show(operation.errors)
    }
    if let visibility = result.visibility { say(row("visible after", visibility, width)) }
    say("  loadtest itself used \((result.ownCores * 100).rounded().plain) % of a core")
  }

  private func show(_ reasons: [String: Int]) {
    for (reason, count) in reasons.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }).prefix(5) {
      say("    \(count) times: \(reason)")
    }
  }

  func showSideBySide(_ results: [TrialResult]) {
    say("")
    say("comparison  " + ["responses/s", "errors", "p50", "p99", "p99.9", "max"].map { pad($0, 12) }.joined())
    for result in results {
      let latency = result.latency
      say(
        pad(result.profile, -12) + pad(result.answeredPerSecond.plain, 12) + pad(String(result.errors), 12)
          + [latency?.p50, latency?.p99, latency?.p999, latency?.max].map { pad(milliseconds($0), 12) }.joined())
    }
  }

  private func row(_ name: String, _ latency: Latency?, _ width: Int) -> String {
    "  " + pad(name, -width) + pad(String(latency?.count ?? 0), 10)
      + [latency?.p50, latency?.p90, latency?.p99, latency?.p999, latency?.max].map { pad(milliseconds($0), 10) }
      .joined()
  }

  private func milliseconds(_ value: Double?) -> String {
    guard let value else { return "–" }
    return value >= 100 ? "\(Int(value.rounded())) ms" : "\(value.plain) ms"
  }

  /// - Parameter width: negative to align the text to the left.
  private func pad(_ text: String, _ width: Int) -> String {
    let blanks = String(repeating: " ", count: max(0, abs(width) - text.count))
    return width < 0 ? text + blanks : blanks + text
  }

  private func write(_ text: String) { FileHandle.standardError.write(Data(text.utf8)) }
}
