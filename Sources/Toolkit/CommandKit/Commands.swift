package import CommandProcessing
public import EventSourcing
internal import Failures
public import Foundation
public import HTTPKit
internal import HTTPTypes
public import Hummingbird
public import JSON

/// HTTP in front of the command processor. The routes of command-service use it.
public struct Commands<Store: StreamStore>: Sendable {
  private let processor: CommandProcessor<Store>
  private let store: Store
  private let tokenKey: ConsistencyToken.Key
  private let mayBegin: @Sendable () throws -> Void

  /// - Parameter mayBegin: Throws while no command may be accepted.
  package init(
    _ processor: CommandProcessor<Store>, _ store: Store, tokenKey: ConsistencyToken.Key,
    mayBegin: @escaping @Sendable () throws -> Void = {}
  ) {
    self.processor = processor
    self.store = store
    self.tokenKey = tokenKey
    self.mayBegin = mayBegin
  }

  /// Runs `body`, at most five times. It reads data first, and then executes a command that needs the data. If the data
  /// has changed when the command is decided, the command is rejected as `changed-meanwhile`, and `body` runs again.
  public func again(_ body: () async throws -> Response) async throws -> Response {
    var attempts = 0
    while true {
      do { return try await body() } catch let problem as Problem where problem.name == "changed-meanwhile" {
        attempts += 1
        guard attempts < 5 else { throw problem }
      }
    }
  }

  /// Folds a stream's events, as they are in the store.
  /// - Parameter id: The aggregate's id.
  /// - Returns: the state, also of a stream that has no events.
  /// - Throws: an error that becomes a response with 503 if the store is not reachable, or with 500 if an event cannot be
  ///   read.
  public func state<A: Aggregate>(of id: String) async throws -> A {
    do {
      // The processor logs an unreadable snapshot when it decides the command.
      return try await store.state(A.self, id) { _ in }
    } catch let error as EventStoreError {
      throw CommandError(reading: error)
    } catch let error as EventDecodingError { throw CommandError.unreadable(error) }
  }

  /// Runs `body`, which uses a database before the command is decided.
  /// - Throws: an error that becomes a response with 503 if `body` fails because the database is not reachable or was
  ///   restored to an earlier time; any other error as it is.
  public func reachingStore<Value>(_ body: () async throws -> Value) async throws -> Value {
    do { return try await body() } catch {
      switch FailureKind(error) {
      case .retry: throw CommandError.unavailable("\(error)")
      case .historyChanged: throw CommandError.historyChanged("\(error)")
      case .refused, .programmingError: throw error
      }
    }
  }

  /// Checks the headers of a command that creates something, for what must not happen before they are known to be valid.
  /// - Throws: a `Problem` that `create` would throw.
  public func checkHeaders(of request: Request, by caller: Caller) throws {
    _ = try CommandRequest(request, body: [], by: caller, hasSubject: false)
  }

  /// Refuses, before any work, a command that the processor would refuse anyway.
  private func admit() throws {
    try mayBegin()
    guard !processor.isOverloaded else { throw processor.shed() }
  }

  /// Reads the request's body, as JSON and as bytes.
  /// - Parameters:
  ///   - request: The request.
  ///   - isOptional: Whether a missing body means an empty object.
  public func body(of request: Request, isOptional: Bool = false) async throws -> (JSON, [UInt8]) {
    try admit()
    let bytes = try await request.jsonBytes(isOptional: isOptional)
    return (isOptional && bytes.isEmpty ? [:] : try JSON(requestBody: bytes), bytes)
  }

  /// Carries out a command that creates something.
  /// - Parameters:
  ///   - command: The command.
  ///   - path: The path of the collection; with the id it is the `Location` of the response.
  ///   - id: The id of the new thing.
  ///   - request: The request, for its headers.
  ///   - body: The request's body: the same `Idempotency-Key` with another body is rejected.
  ///   - caller: The caller that the events name.
  ///   - historyID: The history that the command's data belongs to, such as `PersonalKey.historyID`: in another one, the
  ///     response is 503. nil if the data belongs to none.
  /// - Returns: a response with 201, or with 200 if there was nothing to do.
  /// - Throws: a `Problem` if the command is rejected or not carried out.
  public func create(
    _ command: some Command, _ path: String, _ id: String, _ request: Request, _ body: [UInt8],
    by caller: Caller, in historyID: UUID? = nil
  ) async throws -> Response {
    let commandRequest = try CommandRequest(request, body: body, by: caller, hasSubject: false, in: historyID)
    return try await respond(commandRequest, command) { decided in
      // A command with nothing to do has created nothing.
      CommandResponse(
        status: decided.hasChanged ? 201 : 200,
        location: decided.hasChanged ? "\(path)/\(id.percentEncodedSegment)" : nil, id: id,
        version: decided.version.rawValue, position: decided.position, streams: decided.streams,
        hasChanged: decided.hasChanged ? nil : false)
    }
  }

  /// Carries out a command that changes something.
  /// - Parameters:
  ///   - command: The command.
  ///   - id: The id of the thing.
  ///   - request: The request, for its headers.
  ///   - body: The request's body: the same `Idempotency-Key` with another body is rejected.
  ///   - caller: The caller that the events name.
  ///   - historyID: The history that the command's data belongs to; nil if it belongs to none.
  ///   - extra: Writes further members of the response's body.
  /// - Returns: a response with 200, or with 201 if a PUT created the thing.
  /// - Throws: a `Problem` if the command is rejected or not carried out.
  public func change(
    _ command: some Command, _ id: String, _ request: Request, _ body: [UInt8],
    by caller: Caller, in historyID: UUID? = nil, extra: (@Sendable (inout JSONWriter) -> Void)? = nil
  ) async throws -> Response {
    let commandRequest = try CommandRequest(request, body: body, by: caller, hasSubject: true, in: historyID)
    return try await respond(commandRequest, command) { decided in
      // PUT answers 201 if it created the resource: RFC 9110, section 9.3.4.
      CommandResponse(
        status: request.method == .put && decided.isNew ? 201 : 200, id: id, version: decided.version.rawValue,
        position: decided.position,
        streams: decided.streams, hasChanged: decided.hasChanged, extra: extra)
    }
  }

  /// Carries out the command, and sends the stored response. Every response contains the key, also after a failure, so
  /// that the client can repeat the request with it.
  private func respond(
    _ request: CommandRequest, _ command: some Command, _ response: @escaping @Sendable (Decided) -> CommandResponse
  ) async throws -> Response {
    let key = request.key.key
    let outcome: CommandOutcome
    do {
      outcome = try await Spans.within("command \(type(of: command).name)") {
        try await processor.execute(command, request) { response($0).encoded }
      }
    } catch {
      guard var problem = commandProblem(error) else { throw error }
      problem.headers[.idempotencyKey] = key
      throw problem
    }
    guard let stored = CommandResponse(outcome.response) else {
      throw StoredResponseError(description: "what is stored for the key \(key) is no response")
    }
    var headers: HTTPFields = [.eTag: stored.entityTag, .idempotencyKey: key]
    if let location = stored.location { headers[.location] = location }
    if let historyID = outcome.historyID, let streams = stored.streams,
      let touched = TouchedStreams.parse(String(decoding: streams, as: UTF8.self))
    {
      let entries = touched.map { ConsistencyToken.Entry(stream: $0.hash, position: $0.position) }
      headers[.consistencyToken] = ConsistencyToken(historyID: historyID, entries: entries).signed(with: tokenKey)
    }
    return .json(stored.body, status: .init(code: stored.status), headers: headers)
  }
}

private struct StoredResponseError: Error, CustomStringConvertible {
  let description: String
}
