import EventLoop
import EventSourcing
import Foundation
import JSON
import Logging
import Observability
import Postgres
import Projections
import QueryKit
import ServiceKit
import ServiceLifecycle
import Synchronization

/// The state of the whole system, once a second while there are viewers. Rates are measured without viewers too.
final class Overview: Service {
  private struct State {
    var viewers: [ObjectIdentifier: Wakeup] = [:]
    var latest: (number: Int, text: [UInt8])?
    var isOver = false
    /// The read store's last state, and when it was read. `seen` is nil if the read store did not answer.
    var picture: (seen: Picture?, at: ContinuousClock.Instant)?
    var history = RateHistory()
  }

  private static let interval = Duration.seconds(1)
  /// Without viewers, the processes are polled once in this many intervals.
  private static let idleIntervals = 5
  /// The console says that the read store does not answer when its last state is older than this.
  private static let patience = Duration.seconds(4)
  /// The maximum number of parked streams that are shown.
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

  /// - Returns: the signal for the viewer, or nil if there are too many viewers or the service has stopped.
  func enter(atMost limit: Int) -> Wakeup? {
    let wakeup = Wakeup()
    return state.withLock { state in
      guard !state.isOver, state.viewers.count < limit else { return nil }
      // The last overview is old by now.
      if state.viewers.isEmpty { (state.latest, state.picture) = (nil, nil) }
      state.viewers[ObjectIdentifier(wakeup)] = wakeup
      return wakeup
    }
  }

  func leave(_ wakeup: Wakeup) { state.withLock { $0.viewers[ObjectIdentifier(wakeup)] = nil } }

  func run() async {
    await cancelWhenGracefulShutdown {
      // A separate task, so that a hanging server does not delay the rest.
      async let reading: Void = self.eachSecond { isWatched in
        guard isWatched else { return }
        let picture = await self.read()
        self.state.withLock { $0.picture = (picture, .now) }
      }
      var (number, idle) = (0, 0)
      await self.eachSecond { isWatched in
        idle = isWatched ? 0 : idle + 1
        guard idle % Self.idleIntervals == 0 else { return }
        let processes = await self.lookAtProcesses()
        guard isWatched else { return }
        self.heads.note()
        guard let text = self.text(processes) else { return }
        number += 1
        self.tellAll { $0.latest = (number, text) }
      }
      await reading
    }
    tellAll { $0.isOver = true }
  }

  /// - Parameter body: receives whether there are viewers.
  private func eachSecond(_ body: (_ isWatched: Bool) async -> Void) async {
    while !Task.isCancelled {
      await body(state.withLock { !$0.viewers.isEmpty })
      try? await Task.sleep(for: Self.interval)
    }
  }

  private func lookAtProcesses() async -> ProcessWatch.Looks {
    let looks = await processes.look()
    guard let span = looks.span else { return looks }
    let rates = Rates(looks.before, looks.now)
    state.withLock { $0.history.add(writes: rates["writes"], reads: rates["reads"], over: span, at: .now) }
    return looks
  }

  private func tellAll(_ change: (inout State) -> Void) {
    let viewers = state.withLock { state in
      change(&state)
      return state.viewers.values
    }
    for wakeup in viewers { wakeup.signal() }
  }

  /// - Returns: the overview as JSON, or nil before the read store was first read.
  private func text(_ looks: ProcessWatch.Looks) -> [UInt8]? {
    let (before, now) = (looks.before, looks.now)
    let (picture, history) = state.withLock { ($0.picture, $0.history) }
    guard let last = picture else { return nil }
    var troubles: [String] = []
    var projections = ProjectionOverview(entries: [])
    var (parked, parkedCount): ([ParkedStream], Int) = ([], 0)
    if let picture = last.seen, ContinuousClock.now - last.at < Self.patience {
      projections = picture.projections
      (parked, parkedCount) = (picture.parked, picture.parkedCount)
    } else {
      troubles.append("the read store does not answer")
    }
    if !heads.isAnswering { troubles.append("the write store does not answer") }
    let rates = Rates(before, now)
    let down = now.values.filter { $0.metrics == nil }.count
    if down > 0 { troubles.append("\(down) \(down == 1 ? "process does" : "processes do") not answer") }
    let relays = now.values.filter { $0.service == "relay" }
    let active = relays.compactMap { $0.metrics?.sum("counterflow_relay_active") }.reduce(0, +)
    if !relays.isEmpty, active < 1 { troubles.append("no relay is active") }
    for entry in projections.entries where [.serving, .building].contains(entry.generation.state) {
      let unowned = entry.assignments.count { $0.owner == nil }
      let stopped = entry.assignments.count { ["halted", "forked"].contains($0.mode) }
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
      json.member("history") { history.write(to: &$0) }
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

  /// Returns the state of the read store, or nil if it does not answer.
  private func read() async -> Picture? {
    do {
      let pool = try readStore.server(for: []).access.byKey
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
      json.member("assignments") { json in
        json.array(entry.assignments.enumerated()) { json, assignment in
          let (index, assignment) = assignment
          json.object { json in
            json.member("owner", ifPresent: assignment.owner)
            json.member("mode", assignment.mode)
            json.member("position", assignment.position.rawValue)
            if let heads, entry.generation.until == nil {
              json.member("lag", max(0, heads[index].rawValue - assignment.position.rawValue))
            }
            json.member("why", ifPresent: assignment.trouble)
          }
        }
      }
    }
  }

  private func writeRebuild(_ entry: ProjectionOverview.Entry, to json: inout JSONWriter) {
    let heads = heads.heads(of: entry.generation.partitioning) ?? []
    let wanted = heads.reduce(0) { $0 + Double($1.rawValue) }
    let done = zip(heads, entry.assignments).reduce(0) { $0 + Double(min($1.0.rawValue, $1.1.position.rawValue)) }
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
