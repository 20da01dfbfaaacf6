internal import EventSourcing
internal import Projections

/// Says whether a world is as it must be, once faults have ended.
struct Oracle {
  let world: World
  let events: EventTable
  let models: ProjectionTables
  let reactions: ProjectionTables

  init(_ world: World) {
    self.world = world
    events = world.writeStore.contents.events
    (models, reactions) = (world.readStore.contents.projections, world.writeStore.contents.projections)
  }

  // MARK: Quiet
  /// Whether everything has followed that follows.
  var isQuiet: Bool { unfinished.isEmpty }

  /// What is still to be done.
  var unfinished: [String] {
    var found: [String] = []
    if events.deadlines.contains(where: { !$0.value.hasFailed }) { found.append("deadlines wait") }
    for (tables, names) in [
      (models, ["balances", "statement"]), (reactions, ["reaction/announce", "reaction/collect", "reaction/deliver"]),
    ] {
      for name in names {
        guard let serving = tables.serving(name), let generation = tables.generations[serving],
          let checkpoints = tables.checkpoints[serving]
        else {
          found.append("\(name) has no generation")
          continue
        }
        let heads = events.heads(of: generation.partitioning)
        let behind = zip(checkpoints, heads).filter { $0.position < $1.position }
        if let first = behind.first {
          found.append("\(behind.count) partitions of \(name) are behind: \(first.0.mode), \(first.0.error ?? "")")
        }
        if let wanted = world.build.version(of: name), wanted != generation.version {
          found.append("version \(wanted) of \(name) does not serve")
        }
        if checkpoints.contains(where: { $0.historyID != events.historyID }) {
          found.append("\(name) has another history")
        }
        if let parked = tables.parked[serving]?.first {
          found.append("\(name) has parked \(parked.key): \(parked.value.error)")
        }
      }
    }
    return found
  }

  /// The generations, for people.
  var generations: [String] {
    (models.generations.map { ($0, $1, models) } + reactions.generations.map { ($0, $1, reactions) })
      .sorted { ($0.0.projection, $0.0.number) < ($1.0.projection, $1.0.number) }
      .map { key, generation, tables in
        let modes = Dictionary(grouping: tables.checkpoints[key] ?? [], by: \.mode).mapValues(\.count)
          .sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
        return
          "\(key.projection) \(key.number), version \(generation.version), \(generation.state.rawValue), \(modes)"
      }
  }

  // MARK: What must be true
  var violations: [String] {
    var found = streams() + commands() + consequences() + processes()
    found += rows() + ledgers() + erasures()
    return found
  }

  /// Positions are dense, versions too, and each event follows from the state before it.
  private func streams() -> [String] {
    var found: [String] = []
    var balances: [StreamID: (version: Version, balance: Int64)] = [:]
    for (index, recorded) in events.events.enumerated() {
      let place = "\(recorded.type) at \(recorded.position)"
      if recorded.position.rawValue != Int64(index) + 1 { found.append("\(place) is event \(index + 1)") }
      let before = balances[recorded.stream] ?? (.none, 0)
      if recorded.version != before.version.advanced(by: 1) {
        found.append("\(place) has version \(recorded.version) after \(before.version)")
      }
      guard recorded.stream.category == Account.category else {
        balances[recorded.stream] = (recorded.version, 0)
        continue
      }
      guard let event = try? AccountEvent(recorded) else {
        found.append("\(place) cannot be read")
        continue
      }
      let balance = event.movement?.balance ?? before.balance
      if let movement = event.movement, movement.balance != before.balance + movement.amount || movement.balance < 0 {
        found.append("\(place) gives \(movement.balance) after \(before.balance)")
      }
      balances[recorded.stream] = (recorded.version, balance)
    }
    return found
  }

  /// What took effect, by the command's id and the event's type.
  private func effects() -> [String: [RecordedEvent]] {
    var found: [String: [RecordedEvent]] = [:]
    for recorded in events.events {
      guard let event = try? AccountEvent(recorded), let command = event.command else { continue }
      found["\(recorded.type) \(command)", default: []].append(recorded)
    }
    return found
  }

  /// Every command takes effect at most once. One that was acknowledged took effect, unless its event was lost in a restore.
  private func commands() -> [String] {
    var found: [String] = []
    let effects = effects()
    for (what, all) in effects where all.count > 1 { found.append("\(what) took effect \(all.count) times") }
    let kinds = ["Deposited", "Sent", "Dispatched", "Held", "Named", "PersonalDataErased"]
    let taken = Set(
      effects.keys.filter { key in kinds.contains { key.hasPrefix($0) } }.map { $0.split(separator: " ")[1] })
    for one in world.record.acknowledged where !one.command.hasPrefix("open-") {
      if !taken.contains(Substring(one.command)), !world.record.mayBeLost(one) {
        found.append("\(one.command) was acknowledged, and is gone")
      }
    }
    for (command, begun) in world.record.rejected
    where taken.contains(Substring(command)) && !world.record.lostEvents(since: begun) {
      found.append("\(command) was rejected, and took effect")
    }
    return found + order()
  }

  /// Commands on one account take effect in an order that clients may have seen: a command that was sent after another one
  /// was answered has a later position.
  private func order() -> [String] {
    var found: [String] = []
    let lastLoss = world.record.losses.last?.time ?? .zero
    let since = world.record.acknowledged.filter { $0.begun >= lastLoss }
    for account in world.accounts {
      let all = since.compactMap { one in one.places[account].map { (one, $0) } }
      // The highest position that was answered before a time.
      var answered: [(time: Duration, position: Position)] = []
      for (one, position) in all.sorted(by: { $0.0.ended < $1.0.ended }) {
        answered.append((one.ended, max(position, answered.last?.position ?? .start)))
      }
      for (one, position) in all where !one.command.hasPrefix("open-") {
        let before = answered.last { $0.time < one.begun }
        if let before, position <= before.position {
          found.append(
            "\(one.command) was sent to \(account) after event \(before.position) was answered, and is event \(position)"
          )
        }
      }
    }
    return found
  }

  /// What was dispatched is delivered once, and what was held is released once, and not early.
  private func consequences() -> [String] {
    var found: [String] = []
    let effects = effects()
    for recorded in events.events {
      guard let event = try? AccountEvent(recorded) else { continue }
      switch event {
      case .dispatched(_, _, let command, _):
        if effects["Delivered \(command)"]?.count != 1 { found.append("\(command) was dispatched, and not delivered") }
      case .held(_, _, let command, let seconds):
        guard let released = effects["Released \(command)"]?.first else {
          found.append("\(command) was held, and not released")
          continue
        }
        if !world.outside.hasTaken(released) {
          found.append("the release of \(command) was not announced")
        }
        if released.recordedAt < recorded.recordedAt.advanced(by: .seconds(seconds)) {
          found.append("\(command) was released early")
        }
      case .delivered(let amount, _, let command):
        let dispatched = effects["Dispatched \(command)"]?.first.flatMap { try? AccountEvent($0) }
        if case .dispatched(amount, _, _, let to) = dispatched, recorded.stream == Account.stream(to) { break }
        found.append("\(command) was delivered, and not dispatched like that")
      case .released(_, _, let command):
        if effects["Held \(command)"] == nil { found.append("\(command) was released, and not held") }
      default: break
      }
    }
    return found
  }

  /// Each process has noted what was sent to its account, once and in order, and has rewarded every fourth.
  private func processes() -> [String] {
    var (sent, noted): ([String: [String]], [String: [String]]) = ([:], [:])
    for recorded in events.events {
      if let event = try? AccountEvent(recorded), case .dispatched(_, _, let command, let to) = event {
        sent[to, default: []].append(command)
      }
      if recorded.stream.category == Saving.category, let event = try? SavingEvent(recorded),
        case .noted(let command) = event
      {
        noted[String(recorded.stream.id), default: []].append(command)
      }
    }
    var found = sent.filter { noted[$0.key] != $0.value }.map {
      "\($0.key) has noted \(noted[$0.key] ?? []), and not \($0.value)"
    }
    let rewards = effects().keys.filter { $0.hasPrefix("Rewarded ") }
    let expected = sent.flatMap { to, all in
      stride(from: Collect.interval, through: all.count, by: Collect.interval).map { "Rewarded reward-\(to)-\($0)" }
    }
    if Set(rewards) != Set(expected) { found.append("rewards are \(rewards.count), and not \(expected.count)") }
    return found
  }
}
