internal import Foundation
internal import Machine

/// Statistics of this process from the operating system, under the names that Prometheus' own libraries use.
package enum ProcessStatistics {
  package static let descriptions: [PrometheusMetrics.Description] = [
    .init("process_cpu_seconds_total", .counter, "User and system time of the processor."),
    .init("process_resident_memory_bytes", .gauge, "Memory that is resident."),
    .init("process_virtual_memory_bytes", .gauge, "Memory that is mapped."),
    .init("process_open_fds", .gauge, "Open file descriptors."),
    .init("process_max_fds", .gauge, "File descriptors that may be open."),
    .init("process_threads", .gauge, "Threads."),
    .init("process_start_time_seconds", .gauge, "When the process started, in seconds since 1970."),
  ]

  private static let started = Machine.date.timeIntervalSince1970
  /// Records the start time. The process calls this once when it starts.
  package static func begin() { _ = started }

  /// The current values in Prometheus' text format. A value that the system does not give is left out.
  package static var text: String {
    var values: [String: Double] = ["process_start_time_seconds": started]
    var usage = rusage()
    if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
      func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1_000_000 }
      values["process_cpu_seconds_total"] = seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
      values["process_max_fds"] = Double(limit.rlim_cur)
    }
    if let pages = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " "),
      pages.count > 1, let virtual = Double(pages[0]), let resident = Double(pages[1])
    {
      let size = Double(sysconf(Int32(_SC_PAGESIZE)))
      values["process_virtual_memory_bytes"] = virtual * size
      values["process_resident_memory_bytes"] = resident * size
    }
    if let files = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
      values["process_open_fds"] = Double(files.count)
    }
    if let tasks = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task") {
      values["process_threads"] = Double(tasks.count)
    }
    var text = ""
    for description in descriptions {
      guard let value = values[description.name] else { continue }
      PrometheusMetrics.begin(description.name, description.kind, description.help, in: &text)
      text += "\(description.name) \(value.plain)\n"
    }
    return text
  }
}
