internal import Foundation
public import HTTPTypes
public import Hummingbird
public import JSON

extension Request {
  /// Returns the body as JSON.
  /// - Throws: a `Problem` with status 415 for another content type, 413 for a body over `RequestLimits.bodySize`, or
  ///   400 for a body that is not JSON.
  public func json() async throws -> JSON { try JSON(requestBody: try await jsonBytes()) }

  /// Returns the bytes of a body that should be JSON; see `json()`.
  /// - Parameter isOptional: whether the request may have no body.
  public func jsonBytes(isOptional: Bool = false) async throws -> [UInt8] {
    let isJSON = headers[.contentType].map(Self.isJSON) ?? false
    guard isJSON || isOptional else { throw Problem.notJSON }
    guard (headers[.contentEncoding] ?? "identity").lowercased() == "identity" else {
      var problem = Problem.notJSON
      problem.detail = "Send the body without a Content-Encoding."
      // The client learns which coding to send (RFC 9110, section 12.5.3).
      problem.headers[.acceptEncoding] = "identity"
      throw problem
    }
    let body: ByteBuffer
    do {
      body = try await self.body.collect(upTo: RequestLimits.bodySize)
    } catch {
      guard (error as? any HTTPResponseError)?.status == .contentTooLarge else {
        // The client hung up, or its framing is broken: not an error of this service, so not logged as one.
        throw Problem(
          .badRequest, "unreadable-body", title: "The body cannot be read",
          detail: "It ended early, or its Transfer-Encoding or Content-Length is wrong."
        ).closingConnection
      }
      throw Problem.bodyTooLarge.closingConnection
    }
    guard isJSON || body.readableBytes == 0 else { throw Problem.notJSON }
    return Array(body.readableBytesView)
  }

  /// Whether the type is application/json or a type based on it (RFC 6838, section 4.2.8), in UTF-8.
  private static func isJSON(_ contentType: String) -> Bool {
    if contentType == "application/json" { return true }
    let parts = contentType.split(separator: ";", omittingEmptySubsequences: false).map {
      $0.trimmingCharacters(in: .whitespaces).lowercased()
    }
    // Readers may differ in which of two charsets they use, so both must be UTF-8.
    let charsets = parts.dropFirst().filter { $0.hasPrefix("charset") }
    guard charsets.allSatisfy({ $0 == "charset=utf-8" || $0 == #"charset="utf-8""# }) else { return false }
    return parts[0] == "application/json" || parts[0].wholeMatch(of: /application\/[a-z0-9!#$&^_.+-]+\+json/) != nil
  }
}

extension Problem {
  fileprivate static let notJSON = Problem(
    .unsupportedMediaType, "unsupported-media-type", title: "Unsupported media type",
    detail: "Send the body as JSON in UTF-8, with the header Content-Type: application/json.")
}

extension JSON {
  /// Reads the body of a request.
  /// - Throws: a `Problem` with status 400 for a body that is not JSON.
  public init(requestBody bytes: [UInt8]) throws {
    guard !bytes.isEmpty else { throw Problem.malformedJSON("the body is empty") }
    do throws(JSONError) { self = try JSON(parsing: bytes) } catch { throw Problem.malformedJSON(error) }
  }
}

extension ServiceContext {
  /// Returns a part of the path, percent-decoded.
  /// - Throws: a `Problem` with status 404 if the part contains NUL, since no name here does.
  public func pathParameter(_ name: String) throws -> String {
    let raw = try parameters.require(parameterNames[name] ?? name)
    // Most values have nothing to decode and need not pass through Foundation. `RequestRules` rejects those that cannot
    // be decoded.
    guard raw.utf8.contains(UInt8(ascii: "%")), let decoded = raw.removingPercentEncoding else { return raw }
    guard !decoded.utf8.contains(0) else {
      throw Problem.notFound("There is nothing with this \(name).")
    }
    return decoded
  }
}

extension Response {
  /// Creates a response with a JSON body.
  /// - Parameters:
  ///   - bytes: JSON in UTF-8.
  ///   - status: The HTTP status.
  ///   - headers: Further headers.
  /// - Returns: the response, with the content type `application/json`.
  public static func json(
    _ bytes: [UInt8], status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]
  ) -> Response {
    var headers = headers
    headers[.contentType] = "application/json"
    return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
  }
}

extension HTTPField.Name {
  /// The token in a command's response, for queries that must see the command's writes.
  public static let consistencyToken = HTTPField.Name("Consistency-Token")!
}
