internal import CommandProcessing
internal import EventSourcing
internal import FoundationEssentials
internal import HTTPKit
internal import Machine
internal import PostgresEventStore
internal import QueryKit

/// A client, which sends commands, and sends them again with the same key until it has an answer.
///
/// It is unchecked, since only the thread of the scheduler uses it.
final class Client: @unchecked Sendable {
  let name: String
  let world: World
  private var chance: SeededChance
  private var sent = 0

  init(_ name: String, _ world: World) {
    (self.name, self.world) = (name, world)
    chance = SeededChance(seed: world.plan.seed, for: "client \(name)")
  }

  func run(until end: Duration) async {
    while world.time < end, !Task.isCancelled {
      try? await Machine.sleep(for: chance.duration(.milliseconds(20)...world.plan.rest))
      if chance.happens(0.3) { await look(at: anyAccount(), after: nil) } else { await act() }
    }
  }

  private func anyAccount() -> String {
    // One account is hot.
    chance.happens(0.3) ? world.accounts[0] : world.accounts[Int.random(in: 0..<world.accounts.count, using: &chance)]
  }

  func any(_ role: Role) -> Process? {
    let all = world.processes(role)
    return all.isEmpty ? nil : all[Int.random(in: 0..<all.count, using: &chance)]
  }

  private func act() async {
    sent += 1
    let (id, account) = ("\(name)-\(sent)", anyAccount())
    let amount = Int64.random(in: 1...50, using: &chance)
    if world.record.isPoisoning, chance.happens(0.1) { world.poisoned.insert(id) }
    switch Int.random(in: 0..<11, using: &chance) {
    case 0..<4: await sendAndLook(Addressed(Deposit(amount: amount, command: id), to: account), id, [account])
    case 4..<6:
      let other = anyAccount()
      guard other != account else { return }
      await sendAndLook(Transfer(from: account, to: other, amount: amount, command: id), id, [account, other])
    case 6..<8:
      await sendAndLook(Addressed(Dispatch(amount: amount, command: id, to: anyAccount()), to: account), id, [account])
    case 8..<10:
      let seconds = Int64.random(in: 0...40, using: &chance)
      await sendAndLook(Hold(account: account, amount: amount, command: id, seconds: seconds), id, [account])
    default:
      if chance.happens(0.1) {
        await sendAndLook(Addressed(Erase(command: id), to: account), id, [account])
      } else {
        await name(account, id)
      }
    }
  }

  /// Names the owner of an account, as a route does that takes personal data.
  private func name(_ account: String, _ id: String) async {
    guard let process = any(.command), let keys = process.inside.keys else { return }
    let key: PersonalKey?
    let sealed: String?
    do {
      key = try await Machine.$simulated.withValue(process.host) { try await keys.key(of: account) }
      sealed = try key?.seal(Array(world.owner(of: account, "named by \(id)").utf8), of: account)
    } catch { return world.record.count("names without a key") }
    // A command may wait for its turn.
    if chance.happens(0.3) { await process.host.wait(for: chance.duration(.zero...(.seconds(5)))) }
    await sendAndLook(Addressed(Name(sealed: sealed, command: id), to: account), id, [account], in: key?.historyID)
  }

  /// - Parameters:
  ///   - accounts: those that the command changes; the first one is looked at.
  ///   - historyID: the history that its data belongs to; nil for none.
  private func sendAndLook(
    _ command: some Command, _ id: String, _ accounts: [String], in historyID: UUID? = nil
  ) async {
    guard let answer = await send(command, id, accounts, in: historyID, repeating: 12) else { return }
    if chance.happens(0.1) { await repeatOnce(command, id, answer, in: historyID) }
    if chance.happens(0.5) { await look(at: accounts[0], after: answer) }
  }

  struct Answer: Sendable {
    let text: String
    let version: Version
    let places: [String: Position]
    let token: ConsistencyToken
    let begun: Duration
  }

  /// Sends a command until it is answered, each time with the same key, and to any process.
  /// - Parameter process: the process to send it to; nil for any.
  func send(
    _ command: some Command, _ id: String, _ accounts: [String], in historyID: UUID? = nil, repeating attempts: Int,
    to process: Process? = nil
  ) async -> Answer? {
    let begun = world.time
    for attempt in 0..<attempts {
      if attempt > 0 { try? await Machine.sleep(for: chance.duration(.milliseconds(100)...(.seconds(2)))) }
      guard !Task.isCancelled else { return nil }
      switch await once(command, id, at: process, in: historyID) {
      case .answer(let answer):
        let text = String(decoding: answer.response, as: UTF8.self)
        guard let parsed = parse(text, accounts, answer.historyID, begun) else {
          world.record.violate("\(id) was answered '\(text)'")
          return nil
        }
        world.record.acknowledge(.init(command: id, places: parsed.places, begun: begun, ended: world.time))
        world.trace.note("\(id) is done: \(text)", at: world.time)
        world.record.count("commands")
        return parsed
      case .rejection(let rejection):
        world.trace.note("\(id) is rejected: \(rejection.code)", at: world.time)
        world.record.reject(id, begun: begun)
        world.record.count("rejections")
        return nil
      case .unknown: continue
      case .wrong(let reason):
        world.record.violate("\(id) failed: \(reason)")
        return nil
      }
    }
    world.trace.note("\(id) is given up", at: world.time)
    world.record.count("commands given up")
    return nil
  }

  private enum Outcome {
    case answer(CommandOutcome)
    case rejection(Rejection)
    /// The client knows nothing, and sends the command again.
    case unknown
    case wrong(String)
  }

  private func once(
    _ command: some Command, _ id: String, at given: Process? = nil, in historyID: UUID? = nil
  ) async -> Outcome {
    guard let process = given ?? any(.command), let processor = process.inside.processor else { return .unknown }
    let host = process.host
    await host.wait(for: chance.duration(.microseconds(50)...(.milliseconds(2))))
    let request = CommandRequest(
      key: IdempotencyKey(scope: "clients", key: id), fingerprint: Self.fingerprint(id),
      metadata: EventMetadata(correlationID: id, causationID: "command/\(id)"), historyID: historyID)
    let result: Outcome
    do {
      result = .answer(
        try await Machine.$simulated.withValue(host) {
          try await processor.execute(command, request) { decided in
            Array("\(decided.version)|".utf8) + decided.streams
          }
        })
    } catch let rejection as Rejection { result = .rejection(rejection) } catch let error as CommandError {
      switch error {
      case .overloaded, .unavailable, .outcomeUnknown, .conflict, .historyChanged, .stopping: result = .unknown
      case .preconditionFailed, .keyReused, .refused, .unreadable, .defect: result = .wrong("\(error)")
      }
    } catch { result = error is CancellationError ? .unknown : .wrong("\(error)") }
    await host.wait(for: chance.duration(.microseconds(50)...(.milliseconds(2))))
    // The answer of a process that died meanwhile, or on a bad network, does not arrive.
    return host.isDead || chance.happens(0.03) ? .unknown : result
  }

  private static func fingerprint(_ id: String) -> UUID {
    var chance = SeededChance(seed: 0, for: id)
    return UUID(uuid: unsafeBitCast((chance.next(), chance.next()), to: uuid_t.self))
  }

  private func parse(_ text: String, _ accounts: [String], _ historyID: UUID?, _ begun: Duration) -> Answer? {
    let parts = text.split(separator: "|", maxSplits: 1)
    guard parts.count == 2, let version = Int64(parts[0]), let streams = TouchedStreams.parse(parts[1]), let historyID
    else { return nil }
    let entries = streams.map { ConsistencyToken.Entry(stream: $0.hash, position: $0.position) }
    var places: [String: Position] = [:]
    for account in accounts {
      places[account] = streams.first { $0.hash == Account.stream(account).wideHash }?.position
    }
    return Answer(
      text: text, version: Version(version), places: places,
      token: ConsistencyToken(historyID: historyID, entries: entries), begun: begun)
  }

  /// Sends a command again that was answered: the answer must be the same.
  private func repeatOnce(_ command: some Command, _ id: String, _ answer: Answer, in historyID: UUID?) async {
    let begun = world.time
    let outcome = await once(command, id, in: historyID)
    guard !world.record.lostEvents(since: answer.begun) else { return }
    let text: String
    switch outcome {
    case .unknown: return
    case .answer(let again): text = String(decoding: again.response, as: UTF8.self)
    case .rejection(let rejection): text = "rejected: \(rejection.code)"
    case .wrong(let reason): text = reason
    }
    world.record.count("repeated commands")
    if text != answer.text {
      world.record.violate("\(id) was answered '\(answer.text)', and '\(text)' when it was repeated at \(begun)")
    }
  }
}
