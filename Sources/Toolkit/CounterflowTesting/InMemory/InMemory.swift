internal import AccessKit
internal import CommandKit
internal import CommandProcessing
public import Counterflow
public import EventSourcing
internal import FoundationEssentials
internal import HTTPKit
internal import HTTPTypes
internal import Hummingbird
internal import JSON
internal import Logging
internal import Machine
internal import NIOCore
internal import NIOEmbedded
internal import Projections
internal import QueryKit
public import Reactions

/// A whole application in memory, for tests without servers: its own commands, read models, queries and reactions.
///
///     let bank = try await InMemory(Bank())
///     let opened = try await bank.post("/v1/accounts", #"{"owner":"Ada"}"#)
///     let account = try await bank.get(opened.location!, after: opened.token)
///     #expect(account.json["balance"] == 0)
///
/// Requests take the way that they take in production: routes, problems, idempotency keys, `If-Match` and ETags,
/// consistency tokens, cursors. The command processor decides them, on a store in memory. There is no authentication,
/// no cache, and no stream of changes.
///
/// When a request returns, everything that follows from it has happened: reactions have run until nothing followed any
/// more, and rows show it. `pause` shows what clients see before that. Scheduled commands wait for `advance`. Effects make
/// no calls.
///
/// What needs PostgreSQL (SQL of the application's own, full-text search) answers the problem 501 `needs-postgresql`.
public final class InMemory: Sendable {
  private let store: InMemoryEventStore
  private let clock: MovedClock
  private let followers: Followers
  private let responder: ProblemResponder
  private let channel = NIOAsyncTestingChannel()
  private let logger: Logger
  private let services: Task<Void, Never>

  /// Starts an application in memory, without any events.
  /// - Parameters:
  ///   - application: the application to run.
  ///   - start: the time on the application's clock, which only `advance` moves. By default 2026 begins.
  /// - Throws: `Mismatch` if the application's declaration cannot work.
  public init(
    _ application: some Counterflow.Application,
    startingAt start: Timestamp = Timestamp(microsecondsSince1970: 1_767_225_600_000_000)
  ) async throws {
    if let problem = application.problem { throw Mismatch(description: problem) }
    let logger = Self.logger
    let clock = MovedClock(start)
    let store = InMemoryEventStore { clock.now }
    let processor = CommandProcessor(store, limits: Self.limits, logger: logger) { clock.now }
    let tables = Tables(application.readModels)
    let heads = StoreHeads(store, activity: Activity(), logger: logger)
    let progress = ReadProgress(host: "memory", heads: heads, activity: Activity(), logger: logger) {
      tables.progress.reading(of: tables.models, in: $0)
    }
    let key = ConsistencyToken.Key(Machine.uuid().uuidString.utf8)
    let router = HTTPServing.router()
    application.addDocument(to: router)
    application.addCommands(
      Commands(processor, store, tokenKey: key), Admission(.open, scope: .commandsWrite), to: router)
    let queries = Queries(tables, store, progress: progress, heads: heads, tokenKey: key)
    queries.addChanges(to: router.group())
    application.addQueries(queries, to: router)
    responder = ProblemResponder(router, translate: commandProblem)
    followers = Followers(
      store, clock, tables, application.reactions.map(\.definition), processor, heads, progress, logger: logger)
    (self.store, self.clock, self.logger) = (store, clock, logger)
    // Ends with this object, to which it has no reference.
    services = Task {
      await withTaskGroup(of: Void.self) { group in
        group.addTask {
          do { try await processor.run() } catch {
            logger.error("no more commands are carried out", metadata: ["error": "\(error)"])
          }
        }
        group.addTask { await progress.keepTime() }
      }
    }
    // Entity tags contain the id of the history, which must be known before the first request.
    try await followers.follow()
  }

  deinit { services.cancel() }

  /// Production rejects commands that wait too long. A test on a busy machine must not fail for that.
  private static var limits: CommandProcessor<InMemoryEventStore>.Limits {
    var limits = CommandProcessor<InMemoryEventStore>.Limits()
    limits.patience = .seconds(3600)
    return limits
  }

  /// Tests provoke problems; only what is wrong with the application itself is worth a line.
  private static var logger: Logger {
    var logger = Logger(label: "in-memory")
    logger.logLevel = .error
    return logger
  }

  /// The time on the application's clock.
  public var now: Timestamp { clock.now }

  /// Sends a request, and lets everything follow from it.
  /// - Parameters:
  ///   - method: such as `PATCH`.
  ///   - path: percent-encoded, with the query.
  ///   - json: the body; none if it is empty.
  ///   - headers: replace those that the other parameters stand for.
  ///   - token: the token of an earlier response. The answer includes what that command did.
  /// - Throws: `Mismatch` if a reaction, a scheduled command or a read model fails at an event, as it would park the
  ///   event's stream, or if the request is not one of HTTP. Problems are responses, not errors.
  public func send(
    _ method: String, _ path: String, _ json: String = "", headers: [String: String] = [:], after token: String? = nil
  ) async throws -> Response {
    guard let method = HTTPRequest.Method(rawValue: method) else { throw Mismatch(description: "no method: \(method)") }
    var head = HTTPRequest(method: method, scheme: "http", authority: "in-memory", path: path)
    if !json.isEmpty { head.headerFields[.contentType] = "application/json" }
    head.headerFields[.consistencyToken] = token
    for (name, value) in headers {
      guard let name = HTTPField.Name(name) else { throw Mismatch(description: "no name of a header: \(name)") }
      head.headerFields[name] = value
    }
    var logger = logger
    // Where the server puts it.
    logger[metadataKey: "hb.request.id"] = "\(UUID.v7())"
    let context = ServiceContext(source: ApplicationRequestContextSource(channel: channel, logger: logger))
    let answer = try await responder.respond(
      to: Request(head: head, body: RequestBody(buffer: ByteBuffer(string: json))), context: context)
    let response = try await Response(answer)
    if ![.get, .head].contains(method) { try await followers.follow() }
    return response
  }

  /// Sends a GET request.
  /// - Parameters:
  ///   - path: The path, with the query string if there is one.
  ///   - headers: Further headers.
  ///   - token: The `token` of a response; the query then sees what that command did.
  /// - Returns: the response, whatever its status is.
  public func get(
    _ path: String, headers: [String: String] = [:], after token: String? = nil
  ) async throws -> Response {
    try await send("GET", path, headers: headers, after: token)
  }

  /// Sends a POST request, and lets the read models follow.
  /// - Parameters:
  ///   - path: The path.
  ///   - json: The body.
  ///   - headers: Further headers.
  /// - Returns: the response, whatever its status is.
  public func post(_ path: String, _ json: String = "", headers: [String: String] = [:]) async throws -> Response {
    try await send("POST", path, json, headers: headers)
  }

  /// Sends a POST request whose body is a command as JSON, and lets the read models follow.
  /// - Parameters:
  ///   - path: the path.
  ///   - command: the body.
  ///   - headers: further headers.
  public func post(
    _ path: String, body command: some Encodable, headers: [String: String] = [:]
  ) async throws -> Response {
    var json = JSONWriter()
    try json.write(encoding: command)
    return try await send("POST", path, json.string, headers: headers)
  }

  /// Sends a PUT request, and lets the read models follow.
  /// - Parameters:
  ///   - path: The path.
  ///   - json: The body.
  ///   - headers: Further headers.
  /// - Returns: the response, whatever its status is.
  public func put(_ path: String, _ json: String = "", headers: [String: String] = [:]) async throws -> Response {
    try await send("PUT", path, json, headers: headers)
  }

  /// Sends a DELETE request, and lets the read models follow.
  /// - Parameters:
  ///   - path: The path.
  ///   - headers: Further headers.
  /// - Returns: the response, whatever its status is.
  public func delete(_ path: String, headers: [String: String] = [:]) async throws -> Response {
    try await send("DELETE", path, headers: headers)
  }

  /// Returns the events of a stream, in order.
  /// - Throws: `EventDecodingError`
  public func events<State: Aggregate>(of _: State.Type, _ id: String) async throws -> [State.Event] {
    try await store.events(in: State.stream(id), after: .none, limit: .max).map { try State.Event($0) }
  }

  /// Returns the calls of an effect that follow from all events so far, in order. An application in memory makes none.
  /// - Throws: what the effect's triggers throw.
  public func calls<E: Effect>(of effect: E) async throws -> [E.Call] {
    try await store.events(after: .start, limit: .max).flatMap { try effect.calls(on: $0) }.map(\.call)
  }

  /// Stops read models: rows stay as they are until `resume`.
  ///
  /// A query with the token of a later command waits as in production: for two seconds, or as long as its header
  /// `Prefer: wait=SECONDS` says. Then it is answered 503 `not-caught-up`.
  public func pause() async { await followers.pause() }

  /// Lets read models catch up, and follow commands again.
  /// - Throws: as `send` does.
  public func resume() async throws { try await followers.resume() }

  /// Moves the clock, and carries out what was scheduled up to then, each at its time and the oldest first.
  /// - Throws: as `send` does. The clock then stands at the time of the command that failed.
  public func advance(by duration: Duration) async throws { try await followers.advance(by: duration) }
}
