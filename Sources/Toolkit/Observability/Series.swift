internal import CoreMetrics
internal import Synchronization

/// One line of `/metrics`, or the lines of one histogram.
protocol Series: Sendable {
  func write(to text: inout String)
}

extension Series {
  func line(_ name: String, _ labels: String, _ value: some CustomStringConvertible, to text: inout String) {
    text += name
    if !labels.isEmpty { text += "{\(labels)}" }
    text += " \(value)\n"
  }
}

final class CounterSeries: Series, CounterHandler {
  private let name: String
  private let labels: String
  private let count = Atomic<Int64>(0)

  init(name: String, labels: String) { (self.name, self.labels) = (name, labels) }

  func increment(by amount: Int64) { count.wrappingAdd(amount, ordering: .relaxed) }
  func reset() { count.store(0, ordering: .relaxed) }
  func write(to text: inout String) { line(name, labels, count.load(ordering: .relaxed), to: &text) }
}

/// A gauge, or a counter of floating-point amounts.
final class AmountSeries: Series, MeterHandler, RecorderHandler, FloatingPointCounterHandler {
  let name: String
  let labels: String
  private let bits = Atomic<UInt64>(0)

  init(name: String, labels: String) { (self.name, self.labels) = (name, labels) }

  func set(_ value: Int64) { set(Double(value)) }
  func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
  func record(_ value: Int64) { set(Double(value)) }
  func record(_ value: Double) { set(value) }
  func increment(by amount: Double) { bits.add(amount) }
  func decrement(by amount: Double) { bits.add(-amount) }
  func reset() { set(0.0) }
  func write(to text: inout String) {
    line(name, labels, Double(bitPattern: bits.load(ordering: .relaxed)).plain, to: &text)
  }
}

/// Counts how many values were up to each upper bound.
final class HistogramSeries: Series, RecorderHandler, TimerHandler {
  private let name: String
  private let labels: String
  private let bounds: [Double]
  /// One for each bound, and one for larger values. `write` makes them cumulative.
  private let counts: [Cell]
  private let sum = Atomic<UInt64>(0)

  private final class Cell: Sendable {
    let value = Atomic<Int64>(0)
  }

  init(name: String, labels: String, bounds: [Double]) {
    (self.name, self.labels, self.bounds) = (name, labels, bounds)
    counts = (0...bounds.count).map { _ in Cell() }
  }

  func record(_ value: Int64) { record(Double(value)) }
  func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1_000_000_000) }

  func record(_ value: Double) {
    var index = 0
    while index < bounds.count, value > bounds[index] { index += 1 }
    counts[index].value.wrappingAdd(1, ordering: .relaxed)
    sum.add(value)
  }

  func write(to text: inout String) {
    let separator = labels.isEmpty ? "" : ","
    var total: Int64 = 0
    for (index, cell) in counts.enumerated() {
      total += cell.value.load(ordering: .relaxed)
      let bound = index < bounds.count ? bounds[index].plain : "+Inf"
      line(name + "_bucket", labels + separator + "le=\"\(bound)\"", total, to: &text)
    }
    line(name + "_sum", labels, Double(bitPattern: sum.load(ordering: .relaxed)).plain, to: &text)
    line(name + "_count", labels, total, to: &text)
  }
}

extension Atomic<UInt64> {
  /// Adds to the floating-point number whose bits are stored.
  fileprivate borrowing func add(_ amount: Double) {
    var old = load(ordering: .relaxed)
    while true {
      let new = (Double(bitPattern: old) + amount).bitPattern
      let (isDone, now) = weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
      if isDone { return }
      old = now
    }
  }
}

extension Double {
  /// The number without a fraction if it has none. NaN and infinities are written as Prometheus does.
  var plain: String {
    if isNaN { return "NaN" }
    if isInfinite { return self < 0 ? "-Inf" : "+Inf" }
    return magnitude < 1e15 && self == rounded() ? String(Int64(self)) : String(self)
  }
}
