internal import Foundation
internal import JSON
internal import Machine
internal import Observability

/// Rates per second, from two successive polls of the processes.
struct Rates {
  private var values: [String: Double] = [:]

  init(_ before: [String: ProcessWatch.Seen], _ now: [String: ProcessWatch.Seen]) {
    for (address, seen) in now {
      guard let metrics = seen.metrics, let earlier = before[address], let old = earlier.metrics else { continue }
      let seconds = (seen.at - earlier.at) / .seconds(1)
      func add(_ rate: String, _ name: String, where isWanted: ([String: String]) -> Bool) {
        guard let new = metrics.sum(name, where: isWanted) else { return }
        // A counter that went down belongs to a new process.
        let difference = new - (old.sum(name, where: isWanted) ?? 0)
        if difference >= 0 { values[rate, default: 0] += difference / seconds }
      }
      add("writes", "counterflow_commands_total") { ["accepted", "repeated"].contains($0["outcome"]) }
      add("rejected", "counterflow_commands_total") { $0["outcome"] == "rejected" }
      add("failed", "counterflow_commands_total") { ["failed", "overloaded", "unknown"].contains($0["outcome"]) }
      add("reads", "counterflow_http_requests_total") { labels in
        ["GET", "HEAD"].contains(labels["method"]) && labels["route"]?.hasPrefix("/v1/") ?? false
      }
    }
    values["waiting"] = now.values.compactMap { $0.metrics?.sum("counterflow_command_queue") }.reduce(0, +)
  }

  /// nil if no process answered two successive polls.
  subscript(name: String) -> Double? { values[name] }

  func write(to json: inout JSONWriter) {
    json.object { json in
      json.member("writes") { Self.write(values["writes"], to: &$0) }
      json.member("reads") { Self.write(values["reads"], to: &$0) }
      json.member("rejected") { Self.write(values["rejected"], to: &$0) }
      json.member("failed") { Self.write(values["failed"], to: &$0) }
      json.member("waiting") { Self.write(values["waiting"], to: &$0) }
    }
  }

  /// Writes null if no process answered two successive polls.
  static func write(_ value: Double?, to json: inout JSONWriter) {
    if let value { json.write(JSON.number(value)) } else { json.writeNull() }
  }
}

/// One process, as a row of the console's table.
struct ProcessLine {
  private let seen: ProcessWatch.Seen
  private let before: ProcessWatch.Seen?

  init(_ seen: ProcessWatch.Seen, before: ProcessWatch.Seen?) { (self.seen, self.before) = (seen, before) }

  private var doing: String? {
    guard let metrics = seen.metrics else { return nil }
    func count(_ name: String) -> Int { Int(metrics.sum(name) ?? 0) }
    switch seen.service {
    case "command-service":
      return "\(count("counterflow_command_queue")) commands under way"
    case "relay":
      return count("counterflow_relay_active") == 1
        ? "active, \(count("counterflow_relay_lag_positions")) events behind" : "standing by"
    case "projector", "reactor":
      return "\(count("counterflow_projection_assignments_owned")) assignments"
    case "dev":
      return
        "\(count("counterflow_command_queue")) commands under way, \(count("counterflow_projection_assignments_owned")) assignments"
    case "query-service":
      return
        "\(count("counterflow_query_waiters")) wait for a token, \(count("counterflow_query_followers")) follow changes"
    default: return nil
    }
  }

  func write(to json: inout JSONWriter) {
    let metrics = seen.metrics
    var cpu: Double?
    if let old = before?.metrics?.sum("process_cpu_seconds_total"), let new = metrics?.sum("process_cpu_seconds_total"),
      let before, new >= old
    {
      cpu = (new - old) / ((seen.at - before.at) / .seconds(1))
    }
    let uptime = metrics?.sum("process_start_time_seconds").map { Machine.date.timeIntervalSince1970 - $0 }
    json.object { json in
      json.member("service", ifPresent: seen.service)
      json.member("address", String(seen.address.split(separator: "://").last ?? ""))
      json.member("isUp", metrics != nil)
      json.member("why", ifPresent: seen.why)
      json.member("doing", ifPresent: doing)
      json.member("cpu") { Rates.write(cpu, to: &$0) }
      json.member("memory") { Rates.write(metrics?.sum("process_resident_memory_bytes"), to: &$0) }
      json.member("uptime") { Rates.write(uptime, to: &$0) }
    }
  }
}
