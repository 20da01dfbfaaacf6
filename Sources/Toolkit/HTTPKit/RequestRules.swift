internal import Foundation
internal import HTTPTypes
internal import Hummingbird

/// Rules that every request must follow.
enum RequestRules {
  /// - Throws: a `Problem`. It closes the connection if reading on after the head is not safe, or not worthwhile.
  static func check(_ request: Request) throws(Problem) {
    try checkHost(request)
    try checkFraming(request)
    try checkTarget(request)
  }

  /// RFC 9112, section 3.2.
  private static func checkHost(_ request: Request) throws(Problem) {
    // The first Host is the authority; any others stay in the headers.
    let others = request.headers[values: .host]
    guard let host = request.head.authority, others.isEmpty, isHost(host) else {
      throw .invalidHeader("Host", "must be given once, and name a host and nothing else").closingConnection
    }
  }

  private static func isHost(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F && !#"/?#@\,"<>"#.utf8.contains($0) }
  }

  private static func checkFraming(_ request: Request) throws(Problem) {
    let codings = elements(of: request.headers[values: .transferEncoding])
    // RFC 9112, section 6.3: otherwise the end of the body is unknown.
    guard codings.isEmpty || codings.last == "chunked" else {
      throw .malformedRequest("Transfer-Encoding must end with chunked.")
    }
    guard codings.count < 2 else {
      // RFC 9112, section 6.1.
      throw Problem(
        .notImplemented, "unknown-transfer-coding", title: "Unknown transfer coding",
        detail: "Send the body as it is, with Content-Length or with Transfer-Encoding: chunked."
      ).closingConnection
    }
    if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > RequestLimits.bodySize {
      throw .bodyTooLarge.closingConnection
    }
    // Expect is a list (RFC 9110, section 10.1.1): a repeated element is one expectation.
    guard elements(of: request.headers[values: .expect]).allSatisfy({ $0 == "100-continue" }) else {
      throw Problem(
        .expectationFailed, "unknown-expectation", title: "Unknown expectation",
        detail: "The only expectation is 100-continue; send that, or omit the header.")
    }
  }

  /// Returns the elements of a list over any number of fields, in lower case (RFC 9110, section 5.6.1).
  private static func elements(of fields: [String]) -> [String] {
    fields.flatMap { $0.split(separator: ",") }.map { $0.trimmingCharacters(in: .whitespaces).lowercased() }
      .filter { !$0.isEmpty }
  }

  private static func checkTarget(_ request: Request) throws(Problem) {
    guard request.uri.string.utf8.count <= RequestLimits.uriLength else {
      throw Problem(
        .uriTooLong, "uri-too-long", title: "The path or query is too long",
        detail: "It may have at most \(RequestLimits.uriLength) bytes.")
    }
    guard isPercentEncoded(request.uri.path) else {
      throw Problem(
        .badRequest, "malformed-path", title: "Malformed path", detail: "The path is not percent-encoded UTF-8.")
    }
    guard isPercentEncoded(request.uri.query ?? "") else {
      throw Problem(
        .badRequest, "malformed-query", title: "Malformed query", detail: "The query is not percent-encoded UTF-8.")
    }
  }

  private static func isPercentEncoded(_ text: String) -> Bool {
    // Most texts have nothing to decode and need not pass through Foundation.
    !text.utf8.contains(UInt8(ascii: "%")) || text.removingPercentEncoding != nil
  }
}

extension HTTPField.Name {
  static let host = HTTPField.Name("Host")!
}

extension Problem {
  static let bodyTooLarge = Problem(
    .contentTooLarge, "body-too-large", title: "The body is too large",
    detail: "A body may have at most \(RequestLimits.bodySize) bytes; send a smaller one.")

  static func malformedRequest(_ detail: String) -> Problem {
    Problem(.badRequest, "malformed-request", title: "The request cannot be read", detail: detail).closingConnection
  }

  /// The same problem, but the connection closes, and later input from the client is not read; see `ConnectionEnd`.
  var closingConnection: Problem {
    var problem = self
    problem.headers[.connection] = "close"
    return problem
  }
}
