internal import EventLoop
internal import EventSourcing
internal import FoundationEssentials
internal import Machine
internal import Projections
internal import QueryKit

/// A client of the stream of changes. It must see each event once, in order, and no event before queries show it.
///
/// It is unchecked, since only the thread of the scheduler uses it.
final class ChangeFollower: @unchecked Sendable {
  private let world: World
  private var chance: SeededChance
  private(set) var place: (position: Position, historyID: UUID)?

  init(_ number: Int, _ world: World) {
    self.world = world
    chance = SeededChance(seed: world.plan.seed, for: "follower \(number)")
  }

  func run() async {
    while !Task.isCancelled {
      let all = world.processes(.query)
      if !all.isEmpty { await follow(all[Int.random(in: 0..<all.count, using: &chance)]) }
      try? await Machine.sleep(for: chance.duration(.milliseconds(50)...(.seconds(1))))
    }
  }

  private func follow(_ process: Process) async {
    guard let changes = process.inside.changes,
      let wakeup = changes.enter(atMost: 100)
    else { return }
    defer { changes.leave(wakeup) }
    let host = process.host
    let epoch = changes.epoch
    let end = Machine.now + chance.duration(.seconds(1)...(.seconds(60)))
    await Machine.$simulated.withValue(host) {
      while changes.start == nil, Machine.now < end, !Task.isCancelled {
        try? await Machine.sleep(for: .milliseconds(50))
      }
      guard let (tail, historyID) = changes.start else { return }
      // After a change of the history, a follower begins again.
      var position = tail
      if let place, place.historyID == historyID { position = place.position }
      while Machine.now < end, changes.epoch == epoch, !Task.isCancelled, !host.isDead {
        do {
          let (found, last) = try await changes.changes(after: position, until: end, wakeup)
          guard changes.epoch == epoch, !host.isDead else { return }
          for change in found { take(change, after: &position) }
          if last != position, world.writeStore.contents.events.historyID == historyID, !world.writeStore.isUndeclared {
            world.record.violate("a follower was sent from event \(position) to \(last) without what is between")
          }
          position = last
          place = (position, historyID)
        } catch { return }
      }
    }
  }

  private func take(_ change: Change, after position: inout Position) {
    world.record.count("changes")
    if change.position != position.advanced(by: 1), !world.writeStore.isUndeclared {
      world.record.violate("a follower got event \(change.position) after event \(position)")
    }
    position = change.position
    // For a moment after a crash of the read store, rows are missing that were shown before.
    guard !world.record.crashed(since: world.time - .seconds(10)), !world.writeStore.isUndeclared else { return }
    for model in ["balances", "statement"] where world.current(model) != nil && !isShown(change, model) {
      world.record.violate("a follower got event \(change.position), which \(model) does not show yet")
    }
  }

  private func isShown(_ change: Change, _ model: String) -> Bool {
    let tables = world.readStore.contents.projections
    guard let serving = tables.serving(model), let generation = tables.generations[serving] else { return false }
    let partition = generation.partitioning.partition(of: change.stream)
    return tables.checkpoints[serving]![partition.index].position >= change.position
      || tables.parked[serving]?[change.stream] != nil
  }
}
