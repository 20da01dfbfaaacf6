internal import Failures
internal import FoundationEssentials
internal import Machine
internal import PostgresEventStore
internal import Synchronization

/// A server of the simulation: a database or a broker. It may be out of order.
///
/// It is unchecked, since only the thread of the scheduler uses it, or one link that has a lock.
class Server: @unchecked Sendable {
  let name: String
  /// Whether it answers.
  var isUp = true
  /// Increases when it loses all connections.
  var generation = 0

  init(_ name: String) { self.name = name }

  /// Loses all connections, as in a restart or a failover.
  func dropConnections() { generation += 1 }

  /// Throws unless it serves a process that knows this of it; nil for one that takes any server.
  func admit(_ evidence: ServerWitness.Evidence?) throws {}
}

/// How often the network between a host and a server fails, and how long it takes.
struct NetworkFaults: Sendable {
  /// How often a connection is lost before the server has got the request.
  var lostRequests = 0.0
  /// How often it is lost before the client has got the answer. The request may still be carried out late.
  var lostAnswers = 0.0
  /// How often a request takes long.
  var slowness = 0.0
  var travel = Duration.microseconds(50)...Duration.microseconds(400)
  var slowTravel = Duration.milliseconds(50)...Duration.seconds(3)
}

/// The network that all links of a world share.
///
/// It is unchecked, since only the thread of the scheduler changes it.
final class Network: @unchecked Sendable {
  var faults = NetworkFaults()
  /// Hosts that reach no server.
  var isolated: Set<String> = []
}

/// A connection was lost, or could not be made.
struct LostConnection: ClassifiedError, CustomStringConvertible {
  /// Whether the server may have carried the request out, or may do so later.
  let isUncertain: Bool
  var failureKind: FailureKind { .retry }
  var description: String { isUncertain ? "the answer was lost" : "the server cannot be reached" }
}

/// The connections of one host to one server.
///
/// It is unchecked, since only the thread of the scheduler uses it; one without a host has a lock.
final class Link: @unchecked Sendable {
  /// nil if every request is carried out at once.
  let host: Host?
  private let server: Server
  /// Whether the server is the right one; nil if any is.
  private let witness: ServerWitness?
  private let network: Network
  private let chance: Mutex<SeededChance>

  init(_ host: Host, _ server: Server, _ network: Network, _ witness: ServerWitness? = nil, seed: UInt64) {
    (self.host, self.server, self.network, self.witness) = (host, server, network, witness)
    chance = Mutex(SeededChance(seed: seed, for: "link \(host.name) \(server.name)"))
  }

  /// A link on which nothing goes wrong and no time passes, for tests of a store alone.
  init(direct server: Server) {
    (host, self.server, network, witness) = (nil, server, Network(), nil)
    chance = Mutex(SeededChance(seed: 0))
  }

  /// Sends a request, which the server carries out at one moment, and returns its answer.
  /// - Parameter isWrite: whether the request changes something, so that a lost answer leaves its outcome unknown.
  func ask<Answer: Sendable>(
    isWrite: Bool = false, _ request: @escaping @Sendable () throws -> Answer
  ) async throws -> Answer {
    guard let host else { return try chance.withLock { _ in try request() } }
    return try await ask(host, isWrite, request)
  }

  /// Whether nothing comes through now.
  var isBroken: Bool { !server.isUp || host.map { network.isolated.contains($0.name) } ?? false }

  private func happens(_ probability: Double) -> Bool { chance.withLock { $0.happens(probability) } }

  private func ask<Answer: Sendable>(
    _ host: Host, _ isWrite: Bool, _ request: @escaping @Sendable () throws -> Answer
  ) async throws -> Answer {
    let (faults, evidence) = (network.faults, witness?.evidence)
    @Sendable func carryOut() throws -> Answer {
      try server.admit(evidence)
      return try request()
    }
    let range = happens(faults.slowness) ? faults.slowTravel : faults.travel
    @Sendable func travel() -> Duration { chance.withLock { $0.duration(range) } }
    guard !host.isDead else { throw LostConnection(isUncertain: false) }
    // What a process has sent arrives, even if the process is paused or killed meanwhile.
    let arrival = Scheduler.shared.time + travel()
    let answer: Result<Answer, any Error> = await withCheckedContinuation { continuation in
      Scheduler.shared.call(at: arrival) { [self] in
        @Sendable func back(after delay: Duration, _ answer: @escaping @Sendable () -> Result<Answer, any Error>) {
          host.resume(at: Scheduler.shared.time + delay) { continuation.resume(returning: answer()) }
        }
        guard !isBroken, !happens(faults.lostRequests) else {
          return back(after: .zero) { .failure(LostConnection(isUncertain: false)) }
        }
        let connection = server.generation
        if isWrite, happens(faults.lostAnswers) {
          lose(carryOut, connection)
          return back(after: travel()) { .failure(LostConnection(isUncertain: true)) }
        }
        let result = Result { try carryOut() }
        back(after: travel()) { [self] in
          guard !host.isDead, !isBroken, server.generation == connection, isWrite || !happens(faults.lostAnswers)
          else { return .failure(LostConnection(isUncertain: isWrite)) }
          return result
        }
      }
    }
    return try answer.get()
  }

  /// Carries out a request whose answer is lost: at once, late, or never.
  private func lose(_ request: @escaping @Sendable () throws -> some Sendable, _ connection: Int) {
    switch chance.withLock({ Int.random(in: 0..<3, using: &$0) }) {
    // Nobody learns what comes of it.
    case 0: _ = try? request()
    case 1:
      let delay = chance.withLock { $0.duration(.milliseconds(1)...(.seconds($0.happens(0.2) ? 9 : 0.3))) }
      Scheduler.shared.call(at: Scheduler.shared.time + delay) { [server] in
        // A restart of the server ends what its connections still do.
        if server.isUp, server.generation == connection { _ = try? request() }
      }
    default: break
    }
  }
}
