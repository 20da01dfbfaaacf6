import CoreMetrics
import Foundation
import HTTPKit
import JSON
import Logging
import Observability
import ServiceKit
import TestSupport
import Testing

/// The parsed metrics of a process.
struct Families {
  /// The kind, help and label names of each family.
  var families: [String: (kind: String, help: String?, labels: Set<String>)] = [:]
  var values: [String: Double] = [:]

  init(_ text: String) {
    var help: [String: String] = [:]
    var kinds: [String: String] = [:]
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ", maxSplits: 3).map(String.init)
      if line.hasPrefix("# HELP") {
        help[words[2]] = words[3]
      } else if line.hasPrefix("# TYPE") {
        kinds[words[2]] = words[3]
        families[words[2]] = (words[3], help[words[2]], [])
      } else {
        let space = line.lastIndex(of: " ")!
        values[String(line[..<space])] = Double(line[line.index(after: space)...])
        let name = String(line.prefix { $0 != "{" && $0 != " " })
        let family =
          kinds[name] != nil
          ? name
          : ["_bucket", "_sum", "_count"].lazy.filter(name.hasSuffix).map { String(name.dropLast($0.count)) }.first!
        let labels = line.matches(of: /([a-z]+)="/).map { String($0.1) }.filter { $0 != "le" }
        families[family]?.labels.formUnion(labels)
      }
    }
  }
}

@Suite("Metrics")
struct MetricsTests {
  /// The rows of docs/operations.md: name, kind, labels and help.
  static func documented() throws -> [String: (kind: String, labels: Set<String>, help: String)] {
    let text = try String(
      contentsOf: TestEnvironment.root.appendingPathComponent("docs/operations.md"), encoding: .utf8)
    let rows = text.split(separator: "\n").filter { $0.hasPrefix("| `counterflow_") || $0.hasPrefix("| `process_") }
    return Dictionary(
      uniqueKeysWithValues: rows.map { row in
        let cells = row.split(separator: "|", omittingEmptySubsequences: false)
          .map { $0.trimmingCharacters(in: .whitespaces) }
        let labels = cells[3].split(separator: ",").map { $0.trimmingCharacters(in: [" ", "`"]) }
        return (cells[1].trimmingCharacters(in: ["`"]), (cells[2], Set(labels), cells[4]))
      })
  }

  /// RecordingTests checks that each metric is recorded.
  @Test("docs/operations.md and the catalogue list the same metrics")
  func names() throws {
    let documented = try Self.documented()
    let catalogue = MetricCatalogue.all + ProcessStatistics.descriptions
    #expect(Set(catalogue.map(\.name)) == Set(documented.keys))
    for description in catalogue {
      #expect(documented[description.name]?.kind == description.kind.rawValue, "\(description.name)")
      #expect(documented[description.name]?.help == description.help, "\(description.name)")
    }
  }

  @Test("Counters, gauges and histograms are written in the format of Prometheus")
  func text() {
    let metrics = PrometheusMetrics([.init("counterflow_a_total", .counter, "Some.")])
    metrics.makeCounter(label: "a_total", dimensions: [("b", "x\"y\\z\nw"), ("a", "1")]).increment(by: 3)
    metrics.makeCounter(label: "a_total", dimensions: [("a", "1"), ("b", "x\"y\\z\nw")]).increment(by: 4)
    let gauge = metrics.makeRecorder(label: "g", dimensions: [], aggregate: false)
    gauge.record(1.5 as Double)
    let gone = metrics.makeRecorder(label: "g", dimensions: [("of", "other")], aggregate: false)
    gone.record(7 as Int64)
    metrics.destroyRecorder(gone)
    let meter = metrics.makeMeter(label: "m", dimensions: [])
    meter.increment(by: 5)
    meter.decrement(by: 2)
    let timer = metrics.makeTimer(label: "t_seconds", dimensions: [])
    for nanoseconds in [100_000, 1_000_000, 1_000_001, 40_000_000_000] as [Int64] {
      timer.recordNanoseconds(nanoseconds)
    }
    let lines = metrics.text.split(separator: "\n").map(String.init)
    #expect(
      lines.starts(with: [
        "# HELP counterflow_a_total Some.", "# TYPE counterflow_a_total counter",
        #"counterflow_a_total{a="1",b="x\"y\\z\nw"} 7"#, "# TYPE counterflow_g gauge", "counterflow_g 1.5",
        "# TYPE counterflow_m gauge", "counterflow_m 3", "# TYPE counterflow_t_seconds histogram",
        #"counterflow_t_seconds_bucket{le="0.0005"} 1"#, #"counterflow_t_seconds_bucket{le="0.001"} 2"#,
        #"counterflow_t_seconds_bucket{le="0.0025"} 3"#,
      ]), "\(lines)")
    #expect(lines.contains(#"counterflow_t_seconds_bucket{le="30"} 3"#))
    #expect(
      lines.contains(#"counterflow_t_seconds_bucket{le="+Inf"} 4"#) && lines.contains("counterflow_t_seconds_count 4"))
  }

  @Test("A gauge loses no change when many threads change it")
  func concurrency() async {
    let metrics = PrometheusMetrics([])
    let meter = metrics.makeMeter(label: "m", dimensions: [])
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 { group.addTask { for _ in 0..<10_000 { meter.increment(by: 1) } } }
    }
    #expect(metrics.text.contains("counterflow_m 80000"))
  }

  @Test("A JSON log entry is one line with its metadata")
  func logs() throws {
    let written = Lines()
    var logger = Logger(label: "relay") { JSONLogHandler(label: $0, write: written.add) }
    logger[metadataKey: "projection"] = "orders"
    logger.warning("a \"line\"\nand more", metadata: ["message": "mine", "list": ["a", "b"], "of": ["x": "\(1)"]])
    logger.debug("too little")
    #expect(written.all.count == 1)
    let text = String(decoding: written.all[0], as: UTF8.self)
    #expect(text.hasSuffix("}\n") && text.dropLast().firstIndex(of: "\n") == nil)
    let json = try JSON(parsing: Array(text.utf8.dropLast()))
    #expect(json["level"] == "warning" && json["logger"] == "relay" && json["message"] == "a \"line\"\nand more")
    #expect(json["projection"] == "orders" && json["message_"] == "mine" && json["list"] == ["a", "b"])
    #expect(json["of"] == ["x": "1"])
    #expect(json["time"]?.string?.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil, "\(text)")
  }

  @Test("A text log entry is one line, whatever its message and metadata contain")
  func textLogs() {
    let written = Lines()
    let logger = Logger(label: "relay") {
      StreamLogHandler(label: $0, stream: LogLines(write: written.add), metadataProvider: nil)
    }
    logger.error(
      "no\r\nconnection", metadata: ["error": "refused:\n\tis it \u{1B}[31mrunning\u{2028}there?\n", "naïve": "ü"])
    #expect(written.all.count == 1)
    let text = String(decoding: written.all[0], as: UTF8.self)
    #expect(
      text.hasSuffix(#"no\r\nconnection"# + "\n") && text.unicodeScalars.count { $0.value < 0x20 } == 1, "\(text)")
    #expect(text.contains(#"error=refused:\n is it \u{1b}[31mrunning\u{2028}there?\n naïve=ü"#), "\(text)")
  }

  private final class Lines: @unchecked Sendable {
    var all: [[UInt8]] = []
    @Sendable func add(_ line: [UInt8]) { all.append(line) }
  }
}
