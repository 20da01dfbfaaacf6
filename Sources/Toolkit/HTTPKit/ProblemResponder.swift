internal import Failures
internal import HTTPTypes
package import Hummingbird
internal import Logging
internal import Machine

/// Answers every failed request with problem details, and distinguishes a wrong method from a wrong path.
package struct ProblemResponder: HTTPResponder {
  /// The context of each request.
  package typealias Context = ServiceContext

  private let responder: RouterResponder<Context>
  private typealias Route = (segments: [Substring], method: HTTPRequest.Method)

  private let routes: [Route]
  private let elsewhere: [Route]
  private let translate: @Sendable (any Error) -> Problem?
  private let metrics = HTTPMetrics()

  /// Answers requests with the routes of a router.
  /// - Parameters:
  ///   - router: the routes of this service.
  ///   - elsewhere: routes that another service answers at the same address.
  ///   - translate: returns the problem for an error of the service; nil for an unknown error, whose `FailureKind` then
  ///     decides.
  package init(
    _ router: Router<Context>, elsewhere: [(method: String, path: String)] = [],
    translate: @escaping @Sendable (any Error) -> Problem? = { _ in nil }
  ) {
    self.elsewhere = elsewhere.compactMap { route in
      HTTPRequest.Method(rawValue: route.method).map { (route.path.split(separator: "/"), $0) }
    }
    responder = router.buildResponder()
    // Read after building, which adds HEAD to GET if the router is configured to do so.
    routes = router.routes.map { ($0.path.description.split(separator: "/"), $0.method) }
    self.translate = translate
  }

  package func respond(to request: Request, context: Context) async throws -> Response {
    let start = Machine.now
    let response = await Spans.isOn ? traced(request, context) : answer(request, context)
    metrics.record(request.method, context.endpointPath, response.status, since: start)
    return response
  }

  private func traced(_ request: Request, _ context: Context) async -> Response {
    await Spans.server(request.headers, request.method.rawValue) {
      let response = await answer(request, context)
      let route = context.endpointPath.flatMap { $0.first == "/" ? $0 : nil }
      return (response, route, response.status.code)
    }
  }

  private func answer(_ request: Request, _ context: Context) async -> Response {
    let awaited = AwaitedBody(of: request, context.channel)
    var request = request
    if let awaited { request.body = RequestBody(asyncSequence: awaited) }
    var response: Response
    do {
      try RequestRules.check(request)
      try checkSegments(request)
      response = try await responder.respond(to: request, context: context)
      // Routes throw a problem if they find nothing. This is the router's own response, which has no body.
      if response.status == .notFound || response.status == .methodNotAllowed { try checkRoute(request) }
    } catch {
      let problem = problem(for: error, request, context)
      response = request.method == .head ? problem.response.createHeadResponse() : problem.response
    }
    if let awaited, !awaited.wasAskedFor { response.headers[.connection] = "close" }
    return response
  }

  /// If the service is at fault, logs the error and adds the request id of the log line to the problem.
  private func problem(for error: any Error, _ request: Request, _ context: Context) -> Problem {
    var problem = error as? Problem ?? translate(error) ?? Self.problem(of: FailureKind(error))
    guard problem.status.kind == .serverError, problem.isLogged else { return problem }
    problem = problem.with(requestID: context.id)
    let mayPass = problem.status == .serviceUnavailable || problem.status == .notImplemented
    context.logger.log(
      level: mayPass ? .warning : .error, "a request failed",
      metadata: ["path": "\(request.uri.path)", "problem": "\(problem.name)", "error": "\(error)"])
    return problem
  }

  /// For an error that neither the route nor `translate` turned into a problem.
  private static func problem(of kind: FailureKind) -> Problem {
    switch kind {
    case .retry: .unavailable("A server that this service needs does not answer; try again in a moment.")
    case .historyChanged: .historyChanged
    // A route throws a problem for each request that it refuses, so this error is unexpected.
    case .refused, .programmingError: .internalError
    }
  }

  /// Rejects empty segments, which the router ignores.
  private func checkSegments(_ request: Request) throws(Problem) {
    let path = request.uri.path
    guard path.count > 1, path.hasSuffix("/") || path.contains("//") else { return }
    throw .notFound("At \(path) there is nothing; leave out the slashes that are too many.")
  }

  /// The router answers an unknown path and a wrong method alike, without a body. This function tells them apart.
  private func checkRoute(_ request: Request) throws(Problem) {
    let here = methods(at: request.uri.path, of: routes)
    guard !here.contains(request.method) else { return }
    let there = methods(at: request.uri.path, of: elsewhere)
    guard !there.contains(request.method) else {
      throw .notFound("\(request.method.rawValue) \(request.uri.path) is answered by another service.")
    }
    guard !here.isEmpty || !there.isEmpty else { throw .notFound("At \(request.uri.path) there is nothing.") }
    let list = here.union(there).map(\.rawValue).sorted().joined(separator: ", ")
    throw Problem(
      .methodNotAllowed, "method-not-allowed", title: "Method not allowed",
      detail: "\(request.method.rawValue) is not possible here; use \(list).", headers: [.allow: list])
  }

  private func methods(at path: String, of routes: [Route]) -> Set<HTTPRequest.Method> {
    let segments = path.split(separator: "/")
    let matching = routes.filter { route in
      route.segments.count == segments.count
        && zip(route.segments, segments).allSatisfy { $0.first == "{" || $0.first == ":" || $0 == $1 }
    }
    return Set(matching.map(\.method))
  }
}

/// Limits of every request.
package enum RequestLimits {
  /// The maximum length of a path with its query, in bytes.
  package static let uriLength = 8 * 1024

  /// The maximum size of a request's body, in bytes.
  package static let bodySize = 256 * 1024
}
