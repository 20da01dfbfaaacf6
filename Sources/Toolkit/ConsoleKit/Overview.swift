internal import EventLoop
internal import EventSourcing
internal import Foundation
internal import JSON
internal import Machine
internal import Observability
internal import Projections
internal import ServiceLifecycle
internal import Synchronization

/// The state of the whole system, once a second while there are viewers. Rates are measured without viewers too.
final class Overview: Service {
  /// The last look at a store. `seen` is nil if the store did not answer.
  private struct Look {
    let seen: ProjectionWatch.Picture?
    let at: ContinuousClock.Instant

    /// The console says that the store does not answer when its last answer is older than this.
    private static let patience = Duration.seconds(4)
    var answer: ProjectionWatch.Picture? { Machine.now - at < Self.patience ? seen : nil }
  }

  private struct State {
    var viewers: [ObjectIdentifier: Wakeup] = [:]
    var latest: (number: Int, text: [UInt8])?
    var isOver = false
    var models: Look?
    var reactions: Look?
    var history = RateHistory()
  }

  private static let interval = Duration.seconds(1)
  /// Without viewers, the processes are polled once in this many intervals.
  private static let idleIntervals = 5

  private let processes: ProcessWatch
  private let projections: ProjectionWatch
  private let heads: StoreHeads
  private let state = Mutex(State())

  init(_ processes: ProcessWatch, _ projections: ProjectionWatch, heads: StoreHeads) {
    (self.processes, self.projections, self.heads) = (processes, projections, heads)
  }

  var latest: (number: Int, text: [UInt8])? { state.withLock { $0.latest } }
  var isOver: Bool { state.withLock { $0.isOver } }

  /// - Returns: the signal for the viewer, or nil if there are too many viewers or the service has stopped.
  func enter(atMost limit: Int) -> Wakeup? {
    let wakeup = Wakeup()
    return state.withLock { state in
      guard !state.isOver, state.viewers.count < limit else { return nil }
      // The last overview is old by now.
      if state.viewers.isEmpty { (state.latest, state.models, state.reactions) = (nil, nil, nil) }
      state.viewers[ObjectIdentifier(wakeup)] = wakeup
      return wakeup
    }
  }

  func leave(_ wakeup: Wakeup) { state.withLock { $0.viewers[ObjectIdentifier(wakeup)] = nil } }

  func run() async {
    await cancelWhenGracefulShutdown {
      // Separate tasks, so that a hanging server does not delay the rest.
      async let models: Void = self.eachSecond { isWatched in
        guard isWatched else { return }
        let seen = await self.projections.read(ofReactions: false)
        self.state.withLock { $0.models = Look(seen: seen, at: Machine.now) }
      }
      async let reactions: Void = self.eachSecond { isWatched in
        guard isWatched else { return }
        let seen = await self.projections.read(ofReactions: true)
        self.state.withLock { $0.reactions = Look(seen: seen, at: Machine.now) }
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
      _ = await (models, reactions)
    }
    tellAll { $0.isOver = true }
  }

  /// - Parameter body: receives whether there are viewers.
  private func eachSecond(_ body: (_ isWatched: Bool) async -> Void) async {
    while !Task.isCancelled {
      await body(state.withLock { !$0.viewers.isEmpty })
      try? await Machine.sleep(for: Self.interval)
    }
  }

  private func lookAtProcesses() async -> ProcessWatch.Looks {
    let looks = await processes.look()
    guard let span = looks.span else { return looks }
    let rates = Rates(looks.before, looks.now)
    state.withLock { $0.history.add(writes: rates["writes"], reads: rates["reads"], over: span, at: Machine.now) }
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
    let (models, reactions, history) = state.withLock { ($0.models, $0.reactions, $0.history) }
    guard let models else { return nil }
    var troubles: [String] = []
    if models.answer == nil { troubles.append("the read store does not answer") }
    let isWriteStoreSilent = !heads.isAnswering || reactions.map { $0.answer == nil } ?? false
    if isWriteStoreSilent { troubles.append("the write store does not answer") }
    let known = [models.answer, reactions?.answer].compactMap { $0 }
    let projections = known.flatMap(\.projections)
    let parkedCount = known.reduce(0) { $0 + $1.parkedCount }
    let rates = Rates(before, now)
    let down = now.values.filter { $0.metrics == nil }.count
    if down > 0 { troubles.append("\(down) \(down == 1 ? "process does" : "processes do") not answer") }
    let relays = now.values.filter { $0.service == "relay" }
    let active = relays.compactMap { $0.metrics?.sum("counterflow_relay_active") }.reduce(0, +)
    if !relays.isEmpty, active < 1 { troubles.append("no relay is active") }
    for entry in projections where [.serving, .building].contains(entry.generation.state) {
      let unowned = entry.assignments.count { $0.owner == nil }
      let stopped = entry.assignments.count { ["halted", "forked"].contains($0.mode) }
      let owner = Projection.isReaction(entry.generation.projection) ? "reactor" : "projector"
      if unowned > 0 { troubles.append("\(entry.generation.projection): \(unowned) partitions without a \(owner)") }
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
      json.member("generations") { $0.array(projections) { self.write($1, to: &$0) } }
      json.member("rebuilds") { json in
        json.array(projections.filter { $0.generation.state == .building }) { self.writeRebuild($1, to: &$0) }
      }
      json.member("parkedCount", parkedCount)
      json.member("parked") { $0.array(known.flatMap(\.parked)) { Self.write($1, to: &$0) } }
    }
    return json.bytes
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
