public import EventSourcing
public import HTTPTypes
public import Hummingbird
public import JSON

/// An error response: problem details of RFC 9457.
public struct Problem: Error, Sendable {
  /// One mistake in a request, and where it is.
  public typealias FieldError = Rejection.FieldError

  /// The HTTP status of the response.
  public var status: HTTPResponse.Status
  /// The last part of the type, a URN: `urn:counterflow:problem:NAME`. It is stable: clients may switch on it.
  public var name: String
  /// The same text for every problem with this name.
  public var title: String
  /// An explanation of the error in this request, with the change to make.
  public var detail: String
  /// The mistakes in the request, each with its place.
  public var errors: [FieldError]
  /// Additional members of the JSON object.
  public var extensions: [JSON.Member]
  /// Headers that the response has, besides `Content-Type`.
  public var headers: HTTPFields
  /// Whether a status 5xx is logged. If it is, the response has the request's id, which finds the log line. False if so
  /// many requests may be rejected at once that only the metrics count them.
  public var isLogged: Bool

  /// Creates a problem.
  /// - Parameters:
  ///   - status: The HTTP status.
  ///   - name: The last part of the type, which clients may switch on.
  ///   - title: The same text for every problem with this name.
  ///   - detail: What happened this time, and what to change.
  ///   - errors: The mistakes in the request, each with its place.
  ///   - extensions: Further members of the JSON object.
  ///   - headers: Further headers of the response.
  ///   - isLogged: Whether a status 5xx is logged.
  public init(
    _ status: HTTPResponse.Status, _ name: String, title: String, detail: String, errors: [FieldError] = [],
    extensions: [JSON.Member] = [], headers: HTTPFields = [:], isLogged: Bool = true
  ) {
    self.status = status
    self.name = name
    self.title = title
    self.detail = detail
    self.errors = errors
    self.extensions = extensions
    self.headers = headers
    self.isLogged = isLogged
  }

  /// The body of the response: a JSON object in UTF-8.
  public var json: [UInt8] {
    var members: [JSON.Member] = [
      .init("type", .string("urn:counterflow:problem:\(name)")), .init("title", .string(title)),
      .init("status", .integer(Int64(status.code))), .init("detail", .string(detail)),
    ]
    if !errors.isEmpty {
      members.append(
        .init("errors", .array(errors.map { ["pointer": .string($0.pointer), "detail": .string($0.detail)] })))
    }
    return JSON.object(members + extensions).encoded
  }

  /// The response, with the content type `application/problem+json`.
  public var response: Response {
    var headers = headers
    headers[.contentType] = "application/problem+json"
    return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: json)))
  }
}

extension Problem {
  /// The response to a request for something that does not exist: status 404, `not-found`.
  /// - Parameter detail: What does not exist.
  public static func notFound(_ detail: String) -> Problem {
    Problem(.notFound, "not-found", title: "Not found", detail: detail)
  }

  /// The response to a request with a header that is wrong: status 400, `invalid-header`.
  /// - Parameters:
  ///   - name: the header's name.
  ///   - detail: the change to make; it follows the header's name.
  public static func invalidHeader(_ name: String, _ detail: String) -> Problem {
    Problem(
      .badRequest, "invalid-header", title: "Invalid header", detail: "\(name) \(detail).",
      extensions: [.init("header", .string(name))])
  }

  /// The response while something that the service needs does not respond: status 503, `unavailable`.
  /// - Parameters:
  ///   - detail: what does not respond.
  ///   - retryAfter: in whole seconds.
  ///   - isLogged: whether the status is logged.
  public static func unavailable(_ detail: String, retryAfter: Int = 1, isLogged: Bool = true) -> Problem {
    Problem(
      .serviceUnavailable, "unavailable", title: "Temporarily unavailable", detail: detail,
      headers: [.retryAfter: String(retryAfter)], isLogged: isLogged)
  }

  /// The response to a body that is not JSON: status 400, `malformed-json`.
  public static func malformedJSON(_ error: JSONError) -> Problem { malformedJSON("\(error)") }

  /// - Parameter reason: what is wrong with the body.
  static func malformedJSON(_ reason: String) -> Problem {
    Problem(
      .badRequest, "malformed-json", title: "Malformed JSON", detail: "Send one JSON object in UTF-8: \(reason).",
      errors: [.init(pointer: "", detail: reason)])
  }

  /// - Parameter requestID: the id in the log.
  func with(requestID: String) -> Problem {
    var problem = self
    problem.extensions.append(.init("requestId", .string(requestID)))
    return problem
  }

  /// The response of a service whose store was restored: status 503 until an operator declares the restore.
  public static let historyChanged = Problem.unavailable(
    "The store is not the one it was; nothing was stored. The log of the service says what an operator has to do.",
    retryAfter: 30)

  /// The response to a request that failed for a reason that only the log may name: status 500.
  public static let internalError = Problem(
    .internalServerError, "internal-error", title: "Internal error",
    detail: "The service failed; its log has the cause under this requestId.")
}

extension Problem {
  package static func unauthorized(_ detail: String, challenge: String) -> Problem {
    Problem(
      .unauthorized, "unauthorized", title: "Not authenticated", detail: detail,
      headers: [.wwwAuthenticate: challenge])
  }
}
