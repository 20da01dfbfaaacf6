internal import CommandProcessing
internal import EventSourcing
internal import FoundationEssentials
internal import HTTPKit
internal import HTTPTypes
internal import Hummingbird
internal import JSON
internal import Machine
internal import NIOCore
internal import Projections
internal import QueryKit

/// The clients of a world. They send commands, repeat them when they get no answer, and read what they have written.
struct Clients: Sendable {
  private let world: World

  init(_ world: World) { self.world = world }

  /// Sends a command to each process that takes commands, and reads it at each that answers queries, once faults have ended.
  func lookOnceMore() async {
    let client = Client("last", world)
    for process in world.processes(.command) {
      let (id, account) = ("last-\(process.name)", world.accounts[0])
      let command = Addressed(Deposit(amount: 1, command: id), to: account)
      guard let answer = await client.send(command, id, account, repeating: 20, to: process) else {
        world.record.violate("\(process.name) carries no command out")
        continue
      }
      for process in world.processes(.query) {
        var isAnswered = false
        for _ in 0..<10 where !isAnswered {
          isAnswered = await client.look(at: account, after: answer, in: process)
          if !isAnswered { try? await Machine.sleep(for: .seconds(1)) }
        }
        if !isAnswered { world.record.violate("\(process.name) does not show \(id)") }
      }
    }
  }

  func run(until end: Duration) async {
    for account in world.accounts {
      _ = await Client("opening-\(account)", world).send(
        Addressed(Open(), to: account), "open-\(account)", account, repeating: 60)
    }
    await withDiscardingTaskGroup { group in
      for number in 0..<world.plan.clients {
        group.addTask { await Client("c\(number)", world).run(until: end) }
      }
    }
  }
}

/// It is unchecked, since only the thread of the scheduler uses it.
private final class Client: @unchecked Sendable {
  private let name: String
  private let world: World
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

  private func any(_ role: Role) -> Process? {
    let all = world.processes(role)
    return all.isEmpty ? nil : all[Int.random(in: 0..<all.count, using: &chance)]
  }

  private func act() async {
    sent += 1
    let (id, account) = ("\(name)-\(sent)", anyAccount())
    let amount = Int64.random(in: 1...50, using: &chance)
    if world.record.isPoisoning, chance.happens(0.1) { world.poisoned.insert(id) }
    switch Int.random(in: 0..<10, using: &chance) {
    case 0..<4: await sendAndLook(Addressed(Deposit(amount: amount, command: id), to: account), id, account)
    case 4..<6:
      let other = anyAccount()
      guard other != account else { return }
      await sendAndLook(Transfer(from: account, to: other, amount: amount, command: id), id, account)
    case 6..<8:
      await sendAndLook(Addressed(Dispatch(amount: amount, command: id, to: anyAccount()), to: account), id, account)
    default:
      let seconds = Int64.random(in: 0...40, using: &chance)
      await sendAndLook(Hold(account: account, amount: amount, command: id, seconds: seconds), id, account)
    }
  }

  private func sendAndLook(_ command: some Command, _ id: String, _ account: String) async {
    guard let answer = await send(command, id, account, repeating: 12) else { return }
    if chance.happens(0.1) { await repeatOnce(command, id, answer) }
    if chance.happens(0.5) { await look(at: account, after: answer) }
  }

  struct Answer: Sendable {
    let text: String
    let version: Version
    let position: Position
    let token: ConsistencyToken
    let begun: Duration
  }

  /// Sends a command until it is answered, each time with the same key, and to any process.
  /// - Parameter process: the process to send it to; nil for any.
  func send(
    _ command: some Command, _ id: String, _ account: String, repeating attempts: Int, to process: Process? = nil
  ) async -> Answer? {
    let begun = world.time
    for attempt in 0..<attempts {
      if attempt > 0 { try? await Machine.sleep(for: chance.duration(.milliseconds(100)...(.seconds(2)))) }
      guard !Task.isCancelled else { return nil }
      switch await once(command, id, in: process) {
      case .answer(let answer):
        let text = String(decoding: answer.response, as: UTF8.self)
        guard let parsed = parse(text, account, answer.historyID, begun) else {
          world.record.violate("\(id) was answered '\(text)'")
          return nil
        }
        world.record.acknowledge(
          .init(
            command: id, account: account, version: parsed.version, position: parsed.position, begun: begun,
            ended: world.time))
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

  private func once(_ command: some Command, _ id: String, in given: Process? = nil) async -> Outcome {
    guard let process = given ?? any(.command), let processor = process.inside.processor else { return .unknown }
    let host = process.host
    await host.wait(for: chance.duration(.microseconds(50)...(.milliseconds(2))))
    let request = CommandRequest(
      key: IdempotencyKey(scope: "clients", key: id), fingerprint: Self.fingerprint(id),
      metadata: EventMetadata(correlationID: id, causationID: "command/\(id)"))
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

  private func parse(_ text: String, _ account: String, _ historyID: UUID?, _ begun: Duration) -> Answer? {
    let parts = text.split(separator: "|", maxSplits: 1)
    guard parts.count == 2, let version = Int64(parts[0]), let streams = TouchedStreams.parse(parts[1]), let historyID
    else { return nil }
    let entries = streams.map { ConsistencyToken.Entry(stream: $0.hash, position: $0.position) }
    let own = streams.first { $0.hash == Account.stream(account).wideHash }
    return Answer(
      text: text, version: Version(version), position: own?.position ?? .start,
      token: ConsistencyToken(historyID: historyID, entries: entries), begun: begun)
  }

  /// Sends a command again that was answered: the answer must be the same.
  private func repeatOnce(_ command: some Command, _ id: String, _ answer: Answer) async {
    let begun = world.time
    let outcome = await once(command, id)
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

  // MARK: Queries
  /// Reads an account, with the token of an answer or without one, and checks what it says.
  /// - Parameter process: the process to ask; nil for any.
  /// - Returns: whether it got an answer.
  @discardableResult
  func look(at account: String, after answer: Answer?, in process: Process? = nil) async -> Bool {
    let (begun, generation) = (world.time, world.current("balances"))
    guard let process = process ?? any(.query), let responder = process.inside.responder,
      let tables = process.inside.tables
    else { return false }
    var head = HTTPRequest(method: .get, scheme: "http", authority: "simulation", path: "/accounts/\(account)")
    head.headerFields[.consistencyToken] = answer?.token.signed(with: Process.tokenKey)
    let request = Request(head: head, body: RequestBody(buffer: ByteBuffer()))
    let reads = [Reads("balances", Account.stream(account))]
    let response: Response
    do {
      response = try await Machine.$simulated.withValue(process.host) {
        try await responder.answer(request, reads) { _ in
          try await tables.row("balances", "read_models.balances", account).map {
            QueryResult(bytes: $0.document, version: $0.version)
          }
        }
      }
    } catch {
      world.record.count("failed queries")
      let problem = Self.name(of: error)
      if problem == "not-found", world.record.isShown(account), !world.record.crashed(since: begun - .seconds(10)),
        generation != nil, world.current("balances") == generation
      {
        world.record.violate("\(account) is not found at \(world.time)")
      }
      world.trace.note("\(name) cannot read \(account): \(problem)", at: world.time)
      return false
    }
    guard let tag = response.headers[.eTag], let version = Int64(tag.dropFirst().prefix { $0 != "-" }) else {
      world.record.violate("an answer has no version: \(response.headers)")
      return false
    }
    var body: [UInt8] = []
    if let bytes = try? await Self.bytes(of: response) { body = bytes }
    world.record.show(account)
    world.record.count(answer == nil ? "queries" : "queries with a token")
    world.trace.note("\(name) reads \(account) at version \(version)", at: world.time)
    guard !world.record.lostEvents(since: answer?.begun ?? begun), !world.writeStore.isUndeclared else { return true }
    if let answer, version < answer.version.rawValue {
      world.record.violate(
        "\(name) read \(account) at version \(version) with a token for version \(answer.version), at \(world.time)")
    }
    // Rows of a lost history may show what is gone, until they are built again, and a process may still answer from them then.
    if generation != nil, world.current("balances") == generation, world.isSettled(at: begun) {
      check(body, account, version)
    }
    return true
  }

  private static func name(of error: any Error) -> String { (error as? Problem)?.name ?? "\(type(of: error))" }

  private static func bytes(of response: Response) async throws -> [UInt8] {
    let sink = BodySink()
    try await response.body.write(sink)
    return sink.bytes
  }

  /// A row must be what its stream's events give, up to its version.
  private func check(_ body: [UInt8], _ account: String, _ version: Int64) {
    guard let row = try? JSON(parsing: body).decode(Balances.Row.self) else {
      return world.record.violate("\(name) read '\(String(decoding: body, as: UTF8.self))'")
    }
    let balance = world.balance(of: account, at: Int(version))
    guard row.balance != balance || row.movements != version - 1 else { return }
    world.record.violate(
      "\(account) has \(row.balance) at version \(version), and \(balance.map(String.init) ?? "nothing") by its events")
  }
}
