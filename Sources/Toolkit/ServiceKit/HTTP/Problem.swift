public import EventSourcing
public import HTTPTypes
public import Hummingbird
public import JSON

/// An error response: problem details of RFC 9457.
public struct Problem: Error, Sendable {
  public typealias FieldError = Rejection.FieldError

  public var status: HTTPResponse.Status
  /// The last part of the type, a URN: `urn:counterflow:problem:NAME`. It is stable: clients may switch on it.
  public var name: String
  public var title: String
  /// An explanation of the error in this request, with the change to make.
  public var detail: String
  public var errors: [FieldError]
  /// Additional members of the JSON object.
  public var extensions: [JSON.Member]
  public var headers: HTTPFields
  /// Whether a status 5xx is logged. If it is, the response has the request's id, which finds the log line. False if so
  /// many requests may be rejected at once that only the metrics count them.
  public var isLogged: Bool

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

  public var response: Response {
    var headers = headers
    headers[.contentType] = "application/problem+json"
    return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: json)))
  }
}

extension Problem {
  public static func notFound(_ detail: String) -> Problem {
    Problem(.notFound, "not-found", title: "Not found", detail: detail)
  }

  /// - Parameter detail: the change to make; it follows the header's name.
  public static func invalidHeader(_ name: String, _ detail: String) -> Problem {
    Problem(
      .badRequest, "invalid-header", title: "Invalid header", detail: "\(name) \(detail).",
      extensions: [.init("header", .string(name))])
  }

  /// - Parameter retryAfter: in whole seconds.
  public static func unavailable(_ detail: String, retryAfter: Int = 1, isLogged: Bool = true) -> Problem {
    Problem(
      .serviceUnavailable, "unavailable", title: "Temporarily unavailable", detail: detail,
      headers: [.retryAfter: String(retryAfter)], isLogged: isLogged)
  }

  public static func malformedJSON(_ error: JSONError) -> Problem {
    Problem(
      .badRequest, "malformed-json", title: "Malformed JSON",
      detail: "Send one JSON object in UTF-8: \(error).", errors: [.init(pointer: "", detail: "\(error)")])
  }

  /// - Parameter requestID: the id in the log.
  func with(requestID: String) -> Problem {
    var problem = self
    problem.extensions.append(.init("requestId", .string(requestID)))
    return problem
  }

  public static let historyChanged = Problem.unavailable(
    "The store is not the one it was; nothing was stored. The log of the service says what an operator has to do.",
    retryAfter: 30)

  public static let internalError = Problem(
    .internalServerError, "internal-error", title: "Internal error",
    detail: "The service failed; its log has the cause under this requestId.")
}
