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

// What a client reads, and whether that may be.
extension Client {
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
    let state = world.state(of: account, at: Int(version))
    if row.balance != state?.balance || row.changes != version - 1 {
      world.record.violate(
        "\(account) has \(row.balance) at version \(version), and \(state.map { "\($0.balance)" } ?? "nothing") by its events"
      )
    }
    if let owner = row.owner, state?.isErased == true {
      world.record.violate("\(name) read '\(owner)' at version \(version), after the erasure")
    }
  }
}
