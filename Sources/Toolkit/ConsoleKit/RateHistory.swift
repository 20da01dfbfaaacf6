internal import JSON

/// The rates of the last two minutes, one value per second. A new console shows them at once.
struct RateHistory {
  static let seconds = 120

  /// The newest value is last. nil means that there was no measurement.
  private(set) var writes = [Double?](repeating: nil, count: seconds)
  private(set) var reads = [Double?](repeating: nil, count: seconds)
  /// The time of the newest values.
  private var end: ContinuousClock.Instant?

  /// Adds the average rates between two polls.
  /// - Parameter span: the time between the polls.
  mutating func add(writes: Double?, reads: Double?, over span: Duration, at now: ContinuousClock.Instant) {
    let start = end ?? now - span
    let whole = max(0, Int(((now - start) / .seconds(1)).rounded()))
    end = start + .seconds(whole)
    let count = min(whole, Self.seconds)
    Self.push(writes, count, to: &self.writes)
    Self.push(reads, count, to: &self.reads)
  }

  private static func push(_ value: Double?, _ count: Int, to values: inout [Double?]) {
    values.removeFirst(count)
    values += [Double?](repeating: value.map { ($0 * 10).rounded() / 10 }, count: count)
  }

  func write(to json: inout JSONWriter) {
    json.object { json in
      json.member("writes") { $0.array(writes) { Rates.write($1, to: &$0) } }
      json.member("reads") { $0.array(reads) { Rates.write($1, to: &$0) } }
    }
  }
}
