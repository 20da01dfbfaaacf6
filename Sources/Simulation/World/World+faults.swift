internal import EventSourcing
internal import Projections

// What goes wrong, and what an operator does about it.
extension World {
  func begin(_ fault: Fault) {
    trace.note("\(fault.kind)", at: time)
    @Sendable func later(_ delay: Duration, _ action: @escaping @Sendable () -> Void) {
      Scheduler.shared.call(at: time + delay, action)
    }
    let process = processes[fault.choice % processes.count]
    switch fault.kind {
    case .kill:
      process.kill()
      later(fault.length) { process.start() }
    case .stop:
      process.stop()
      later(fault.length) { process.start() }
    case .pause: process.host.pause(for: fault.length)
    case .isolate:
      let name = process.host.name
      network.isolated.insert(name)
      later(fault.length) { [self] in network.isolated.remove(name) }
    case .stepClock: process.host.skew += .seconds(fault.choice % 7_200 - 3_600)
    case .badNetwork: worsen(for: fault.length)
    case .restartWriteStore: restart(writeStore, fault.length)
    case .restartReadStore: restart(readStore, fault.length)
    case .restartBroker: restart(broker, fault.length)
    case .failOver:
      if writeStore.failOver() { trace.note("another server has the write store", at: time) }
    case .restore:
      let backup = writeStore.contents
      later(fault.length) { [self] in
        guard !writeStore.isForeign else { return }
        trace.note("restored to \(backup.events.head) from \(writeStore.contents.events.head)", at: time)
        record.restored(to: backup.events.commonHead(with: writeStore.contents.events), at: time)
        writeStore.restore(backup)
        later(.seconds(3)) { [self] in writeStore.declare(losingNothing: false) }
      }
    case .crashReadStore:
      readStore.holdBack()
      later(.milliseconds(fault.choice % 500)) { [self] in
        record.readStoreCrashed(at: time)
        readStore.crash()
        restart(readStore, .seconds(1))
      }
    case .wipeBroker: broker.wipe()
    case .badBroker:
      broker.faults.lost = 0.1
      broker.faults.repeated = 0.2
      broker.faults.late = 0.2
      later(fault.length) { [self] in broker.faults = Broker.Faults() }
    case .poison:
      record.isPoisoning = true
      later(fault.length) { [self] in repair(onBadNetwork: fault.choice % 2 == 0) }
    case .deploy:
      if fault.choice % 3 == 0 {
        build.deliverVersion += 1
        roll([.reactor])
      } else {
        build.balancesVersion += 1
        roll([.projector])
      }
    case .resize:
      build.partitioning = Partitioning(count: [4, 16, 32][fault.choice % 3])!
      roll([.projector, .relay])
    }
  }

  private func restart(_ server: Server, _ length: Duration) {
    server.isUp = false
    server.dropConnections()
    Scheduler.shared.call(at: time + length) { server.isUp = true }
  }

  /// Replaces the processes one after another.
  private func roll(_ roles: Set<Role>) {
    for (index, process) in processes.filter({ roles.contains($0.role) }).enumerated() {
      Scheduler.shared.call(at: time + .seconds(2) * (index + 1)) {
        process.stop()
        process.start()
      }
    }
  }

  /// Does what the log asks an operator for, again and again. It declares a failover if no process that recognises it is
  /// left. It discards generations that are being built and that no process
  /// builds any more, or that have rows of a lost history, since newer ones wait for that; and it builds read models again that have rows of a lost history.
  func operate() {
    if writeStore.isForeign, !writeStore.hasLostEvents, foreignSince.map({ time - $0 >= .seconds(10) }) ?? false {
      trace.note("declares that nothing is lost", at: time)
      writeStore.declare(losingNothing: true)
    }
    foreignSince = writeStore.isForeign ? foreignSince ?? time : nil
    let tables = readStore.contents.projections
    let alive = tables.services(at: readStore.now)
    var lost: Set<String> = []
    for generation in tables.all(of: ["balances", "statement"]) {
      let isForked = tables.checkpoints[.init(generation)]!.contains { $0.mode == "forked" }
      let isDead = generation.state == .building && !alive.contains(generation.service)
      if isDead || generation.state != .serving && isForked {
        trace.note("discards \(generation.projection) \(generation.number)", at: time)
        readStore.change { _ = $0.drop(.init(generation)) }
      }
      if generation.state == .serving, isForked, generation.version == build.version(of: generation.projection) {
        lost.insert(generation.projection)
      }
    }
    if !lost.isEmpty {
      trace.note("builds \(lost.sorted().joined(separator: " and ")) again", at: time)
      if lost.contains("balances") { build.balancesVersion += 1 }
      if lost.contains("statement") { build.statementVersion += 1 }
      roll([.projector])
    }
    if !record.isPoisoning { retryParked() }
    Scheduler.shared.call(at: time + .seconds(20)) { [self] in if !record.isOver { operate() } }
  }

  private func worsen(for length: Duration) {
    network.faults.lostRequests = 0.02
    network.faults.lostAnswers = 0.05
    network.faults.slowness = 0.03
    Scheduler.shared.call(at: time + length) { [self] in network.faults = NetworkFaults() }
  }

  private func retryParked() {
    readStore.change { $0.retryParked(at: readStore.now) }
    writeStore.change { $0.retryParked(at: writeStore.now) }
  }

  /// Repairs what was poisoned, as an operator does.
  private func repair(onBadNetwork isBad: Bool) {
    if isBad { worsen(for: .seconds(4)) }
    record.isPoisoning = false
    poisoned = []
    retryParked()
  }
}
