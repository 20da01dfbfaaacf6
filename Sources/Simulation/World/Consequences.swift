internal import EventSourcing
internal import FoundationEssentials
internal import Machine
internal import Projections
internal import Reactions

/// Pays dispatched money into the other account.
struct Deliver: Reaction {
  let version: Int
  let name = "deliver"
  let schedules = [ScheduledType(Release.self)]
  /// Commands at whose events it fails.
  let poisoned: @Sendable (String) -> Bool
  var triggers: [Trigger] {
    [
      Trigger(Account.self) { [poisoned] event, todo in
        guard case .dispatched(let amount, _, let command, let to) = event.event else { return }
        if poisoned(command) { throw Poisoned(command: command) }
        todo.run(Pay(amount: amount, command: command), to: to)
      }
    ]
  }
}

struct Reward: StreamCommand {
  let command: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    [.rewarded(amount: 1, balance: try account.adding(1), command: command)]
  }
}

enum SavingEvent: DomainEvent, Codable {
  case noted(command: String)

  enum CodingKeys: String, CodingKey, CaseIterable { case noted = "Noted" }
}

/// How often money was sent to an account.
struct Saving: Aggregate {
  static let category = "saving"
  var count = 0

  mutating func apply(_ event: SavingEvent) { count += 1 }
}

/// Counts what is sent to each account, from whatever accounts, and rewards every fourth.
struct Collect: ProcessManager {
  static let interval = 4

  let name = "collect"
  /// Commands at whose events it fails.
  let poisoned: @Sendable (String) -> Bool
  var triggers: [ProcessTrigger<Saving>] {
    [
      ProcessTrigger(
        Account.self,
        key: { event in
          guard case .dispatched(_, _, _, let to) = event.event else { return nil }
          return to
        }
      ) { [poisoned] event, state, todo in
        guard case .dispatched(_, _, let command, let to) = event.event else { return }
        if poisoned(command) { throw Poisoned(command: command) }
        todo.emit(.noted(command: command), to: Saving.self, to)
        let count = state.count + 1
        if count % Self.interval == 0 { todo.run(Reward(command: "reward-\(to)-\(count)"), to: to) }
      }
    ]
  }
}

/// Tells the world outside of each release.
struct Announce: Effect {
  struct Call: Equatable { let stream: StreamID, version: Version }

  let name = "announce"
  let outside: Outside
  var triggers: [EffectTrigger<Call>] {
    [
      EffectTrigger(Account.self) { event, calls in
        guard case .released = event.event else { return }
        calls.make(Call(stream: event.stream, version: event.version))
      }
    ]
  }

  func perform(_ call: Call, _ context: EffectContext) async throws { try await outside.take(call, context) }
}

/// A system outside, which may be slow, fail, or answer so that the answer is lost.
///
/// It is unchecked, since only the thread of the scheduler uses it.
final class Outside: @unchecked Sendable {
  private unowned let world: World
  private var chance: SeededChance
  /// The keys of the calls that were taken.
  private var taken: Set<String> = []

  init(_ world: World) {
    self.world = world
    chance = SeededChance(seed: world.plan.seed, for: "outside")
  }

  func take(_ call: Announce.Call, _ context: EffectContext) async throws {
    let delay =
      chance.happens(0.05)
      ? chance.duration(.seconds(4)...(.seconds(12))) : chance.duration(.milliseconds(1)...(.milliseconds(60)))
    try await Machine.sleep(for: delay)
    if (Machine.simulated as? Host)?.isDead ?? false { throw LostConnection(isUncertain: false) }
    if chance.happens(0.08) { throw LostConnection(isUncertain: false) }
    world.record.count("calls")
    check(call, context)
    taken.insert(context.key)
    if chance.happens(0.05) { throw LostConnection(isUncertain: true) }
  }

  /// No attempt begins once a success is on record, and calls of a stream are made in order.
  private func check(_ call: Announce.Call, _ context: EffectContext) {
    let key = context.key
    let attempts = world.writeStore.contents.attempts.all[key] ?? []
    let isRepeated = attempts.contains { $0.outcome == .succeeded && $0.finishedAt.map { $0 < context.time } ?? false }
    if isRepeated, attempts.count >= context.attempt, attempts[context.attempt - 1].startedAt == context.time {
      world.record.violate("attempt \(context.attempt) of the call \(key) began after a success was on record")
    }
    let events = world.writeStore.contents.events.events(in: call.stream, after: .none, limit: .max)
    // The event may have been lost meanwhile.
    guard let own = events.first(where: { $0.version == call.version }), Self.key(of: own) == key else { return }
    if let earlier = events.first(where: { $0.version < own.version && $0.type == own.type && !hasTaken($0) }) {
      world.record.violate("the call of \(call.stream) \(call.version) was made before that of \(earlier.version)")
    }
  }

  private static func key(of event: RecordedEvent) -> String {
    "\(Projection.name(ofReaction: "announce"))/\(event.id.uuidString.lowercased())"
  }

  func hasTaken(_ event: RecordedEvent) -> Bool { taken.contains(Self.key(of: event)) }
}
