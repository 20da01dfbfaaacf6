import EventLoop
import EventSourcing
import Foundation
import JSON
import Logging
import Observability
import Postgres
import Projections
import ServiceKit
import ServiceLifecycle
import Synchronization

/// The state of the whole system, once a second while anybody looks on.
final class Overview: Service {
  private struct State {
    var viewers: [ObjectIdentifier: Wakeup] = [:]
    var latest: (number: Int, text: [UInt8])?
    var isOver = false
    /// Whether the read store is being looked at, and what was seen last; nil where it did not answer.
    var isReading = false
    var picture: Picture?
  }

  private static let interval = Duration.seconds(1)
  /// How long the read store may take before it is said that it does not answer.
  private static let patience = Duration.seconds(2)
  /// Parked streams that are shown, of however many.
  private static let parkedLimit = 50

  private let processes: ProcessWatch
  private let readStore: ReadStore
  private let heads: StoreHeads
  private let logger: Logger
  private let state = Mutex(State())

  init(_ processes: ProcessWatch, _ readStore: ReadStore, heads: StoreHeads, logger: Logger) {
    (self.processes, self.readStore, self.heads, self.logger) = (processes, readStore, heads, logger)
  }

  var latest: (number: Int, text: [UInt8])? { state.withLock { $0.latest } }
  var isOver: Bool { state.withLock { $0.isOver } }

  /// - Returns: what signals the viewer; nil where there are so many already.
  func enter(atMost limit: Int) -> Wakeup? {
    let wakeup = Wakeup()
    return state.withLock { state in
      guard !state.isOver, state.viewers.count < limit else { return nil }
      // What was seen last is old.
      if state.viewers.isEmpty { state.latest = nil }
      state.viewers[ObjectIdentifier(wakeup)] = wakeup
      return wakeup
    }
  }

  func leave(_ wakeup: Wakeup) { state.withLock { $0.viewers[ObjectIdentifier(wakeup)] = nil } }

  func run() async {
    await cancelWhenGracefulShutdown {
      var number = 0
      while !Task.isCancelled {
        if self.state.withLock({ !$0.viewers.isEmpty }) {
          self.heads.note()
          number += 1
          let text = await self.look()
          self.tellAll { $0.latest = (number, text) }
        }
        try? await Task.sleep(for: Self.interval)
      }
    }
    tellAll { $0.isOver = true }
  }

  private func tellAll(_ change: (inout State) -> Void) {
    let viewers = state.withLock { state in
      change(&state)
      return state.viewers.values
    }
    for wakeup in viewers { wakeup.signal() }
  }

  private func look() async -> [UInt8] {
    let (before, now) = await processes.look()
    var troubles: [String] = []
    var projections = ProjectionOverview(entries: [])
    var (parked, parkedCount): ([ParkedStream], Int) = ([], 0)
    if let picture = await picture() {
      projections = picture.projections
      (parked, parkedCount) = (picture.parked, picture.parkedCount)
    } else {
      troubles.append("the read store does not answer")
    }
    if !heads.isAnswering { troubles.append("the write store does not answer") }
    let rates = Rates(before, now)
    let down = now.values.filter { $0.metrics == nil }.count
    if down > 0 { troubles.append("\(down) \(down == 1 ? "process does" : "processes do") not answer") }
    for (service, wanted) in [("relay", "no relay is active")]
    where now.values.contains(where: { $0.service == service }) {
      if now.values.compactMap({ $0.metrics?.sum("counterflow_relay_active") }).reduce(0, +) < 1 {
        troubles.append(wanted)
      }
    }
    for entry in projections.entries where [.serving, .building].contains(entry.generation.state) {
      let unowned = entry.pairs.count { $0.owner == nil }
      let stopped = entry.pairs.count { ["halted", "forked"].contains($0.mode) }
      if unowned > 0 { troubles.append("\(entry.generation.projection): \(unowned) partitions without a projector") }
      if stopped > 0 { troubles.append("\(entry.generation.projection): \(stopped) partitions stand still") }
    }
    if parkedCount > 0 { troubles.append("\(parkedCount) parked \(parkedCount == 1 ? "stream" : "streams")") }

    var json = JSONWriter(reserving: 64 * 1024)
    json.object { json in
      json.member("head") {
        if heads.isAnswering, let last = heads.last { $0.write(last.rawValue) } else { $0.writeNull() }
      }
      json.member("troubles") { $0.array(troubles) { $0.write($1) } }
      json.member("rates") { rates.write(to: &$0) }
      json.member("processes") { json in
        json.array(now.values.sorted { ($0.service ?? "~", $0.address) < ($1.service ?? "~", $1.address) }) {
          json, seen in
          ProcessLine(seen, before: before[seen.address]).write(to: &json)
        }
      }
      json.member("generations") { $0.array(projections.entries) { self.write($1, to: &$0) } }
      json.member("rebuilds") { json in
        json.array(projections.entries.filter { $0.generation.state == .building }) { self.writeRebuild($1, to: &$0) }
      }
      json.member("parkedCount", parkedCount)
      json.member("parked") { $0.array(parked) { Self.write($1, to: &$0) } }
    }
    return json.bytes
  }

  private struct Picture: Sendable {
    let projections: ProjectionOverview
    let parked: [ParkedStream]
    let parkedCount: Int
  }

  /// What the read store shows; nil where it has not answered in time. A look that hangs is not joined by another one.
  private func picture() async -> Picture? {
    let isNew = state.withLock { state in
      defer { state.isReading = true }
      return !state.isReading
    }
    if isNew {
      Task {
        let picture = await self.read()
        self.state.withLock { ($0.isReading, $0.picture) = (false, picture) }
      }
    }
    let deadline = ContinuousClock.now + Self.patience
    while ContinuousClock.now < deadline {
      let (isReading, picture) = state.withLock { ($0.isReading, $0.picture) }
      if !isReading { return picture }
      try? await Task.sleep(for: .milliseconds(10))
    }
    return nil
  }

  private func read() async -> Picture? {
    do {
      let pool = readStore.server(for: []).pool
      let projections = try await ProjectionOverview.read(pool)
      let (parked, count) = try await ParkedStreams(pool).first(Self.parkedLimit)
      return Picture(projections: projections, parked: parked, parkedCount: count)
    } catch {
      logger.warning("the console cannot read the projections", metadata: ["error": "\(error)"])
      return nil
    }
  }

  private func write(_ entry: ProjectionOverview.Entry, to json: inout JSONWriter) {
    let heads = heads.heads(of: entry.generation.partitioning)
    json.object { json in
      json.member("projection", entry.generation.projection)
      json.member("generation", entry.generation.number)
      json.member("state", entry.generation.state.rawValue)
      json.member("pairs") { json in
        json.array(entry.pairs.enumerated()) { json, pair in
          let (index, pair) = pair
          json.object { json in
            json.member("owner", ifPresent: pair.owner)
            json.member("mode", pair.mode)
            json.member("position", pair.position.rawValue)
            if let heads, entry.generation.until == nil {
              json.member("lag", max(0, heads[index].rawValue - pair.position.rawValue))
            }
            json.member("why", ifPresent: pair.trouble)
          }
        }
      }
    }
  }

  private func writeRebuild(_ entry: ProjectionOverview.Entry, to json: inout JSONWriter) {
    let heads = heads.heads(of: entry.generation.partitioning) ?? []
    let wanted = heads.reduce(0) { $0 + Double($1.rawValue) }
    let done = zip(heads, entry.pairs).reduce(0) { $0 + Double(min($1.0.rawValue, $1.1.position.rawValue)) }
    json.object { json in
      json.member("projection", entry.generation.projection)
      json.member("generation", entry.generation.number)
      json.member("version", entry.generation.version)
      json.member("progress") { $0.write(JSON.number(wanted > 0 ? done / wanted : 0)) }
    }
  }

  private static func write(_ parked: ParkedStream, to json: inout JSONWriter) {
    json.object { json in
      json.member("projection", parked.projection)
      json.member("generation", parked.generation)
      json.member("stream", parked.stream.rawValue)
      json.member("type", parked.eventType)
      json.member("position", parked.position.rawValue)
      json.member("error", parked.error)
      json.member("attempts", parked.attempts)
      json.member("request", orNull: parked.request)
    }
  }
}

/// What the processes do in a second, from one look to the next.
private struct Rates {
  private var values: [String: Double] = [:]

  init(_ before: [String: ProcessWatch.Seen], _ now: [String: ProcessWatch.Seen]) {
    for (address, seen) in now {
      guard let metrics = seen.metrics, let earlier = before[address], let old = earlier.metrics else { continue }
      let seconds = (seen.at - earlier.at) / .seconds(1)
      func add(_ rate: String, _ name: String, where isWanted: ([String: String]) -> Bool) {
        guard let new = metrics.sum(name, where: isWanted) else { return }
        // A counter that went back is that of another process.
        let difference = new - (old.sum(name, where: isWanted) ?? 0)
        if difference >= 0 { values[rate, default: 0] += difference / seconds }
      }
      add("writes", "counterflow_commands_total") { ["accepted", "repeated"].contains($0["outcome"]) }
      add("rejected", "counterflow_commands_total") { $0["outcome"] == "rejected" }
      add("failed", "counterflow_commands_total") { ["failed", "overloaded", "unknown"].contains($0["outcome"]) }
      if seen.service == "query-service" {
        add("reads", "counterflow_http_requests_total") { $0["route"]?.hasPrefix("/v1/") ?? false }
      }
    }
    values["waiting"] = now.values.compactMap { $0.metrics?.sum("counterflow_command_queue") }.reduce(0, +)
  }

  func write(to json: inout JSONWriter) {
    json.object { json in
      json.member("writes") { Self.write(values["writes"], to: &$0) }
      json.member("reads") { Self.write(values["reads"], to: &$0) }
      json.member("rejected") { Self.write(values["rejected"], to: &$0) }
      json.member("failed") { Self.write(values["failed"], to: &$0) }
      json.member("waiting") { Self.write(values["waiting"], to: &$0) }
    }
  }

  /// null where nobody could be asked twice.
  static func write(_ value: Double?, to json: inout JSONWriter) {
    if let value { json.write(JSON.number(value)) } else { json.writeNull() }
  }
}

/// One process in a few words.
private struct ProcessLine {
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
    case "projector":
      return "\(count("counterflow_projection_pairs_owned")) pairs"
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
    let uptime = metrics?.sum("process_start_time_seconds").map { Date().timeIntervalSince1970 - $0 }
    json.object { json in
      json.member("service", ifPresent: seen.service)
      json.member("address", String(seen.address.dropFirst("http://".count)))
      json.member("isUp", metrics != nil)
      json.member("why", ifPresent: seen.why)
      json.member("doing", ifPresent: doing)
      json.member("cpu") { Rates.write(cpu, to: &$0) }
      json.member("memory") { Rates.write(metrics?.sum("process_resident_memory_bytes"), to: &$0) }
      json.member("uptime") { Rates.write(uptime, to: &$0) }
    }
  }
}
