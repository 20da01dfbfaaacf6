internal import CommandProcessing
internal import Crypto
internal import EventSourcing
internal import Foundation
internal import HTTPKit
internal import HTTPTypes
internal import Hummingbird
internal import JSON

extension HTTPField.Name {
  /// draft-ietf-httpapi-idempotency-key-header, section 2.
  static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
  static let correlationID = HTTPField.Name("X-Correlation-Id")!
  /// W3C Trace Context, section 3.2.
  static let traceParent = HTTPField.Name("traceparent")!
}

extension CommandRequest {
  /// Creates the request of a command from the HTTP request's headers.
  /// - Parameters:
  ///   - body: The body as received.
  ///   - historyID: The history that the command's data belongs to; nil if it belongs to none.
  /// - Throws: `Problem` if a header is invalid.
  init(_ request: Request, body: [UInt8], by caller: Caller, hasSubject: Bool, in historyID: UUID? = nil) throws {
    let ownKey = try request.idempotencyKey()
    let key = ownKey ?? UUID.v7().uuidString.lowercased()
    let condition = try request.condition(hasSubject: hasSubject)
    var hash = SHA256()
    hash.update(
      data: Array("\(request.method.rawValue) \(request.uri.path)\n\(request.headers[.ifMatch] ?? "")\n".utf8))
    hash.update(data: body)
    let fingerprint = hash.finalize().withUnsafeBytes { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
    let metadata = EventMetadata(
      correlationID: try request.correlationID() ?? key, causationID: key, actor: caller.subject,
      // The span of this request if tracing is on; otherwise the client's traceparent.
      traceParent: Spans.current ?? request.traceParent)
    self.init(
      // Without authentication, all callers share one scope.
      key: IdempotencyKey(scope: caller.subject ?? "", key: key), isKeyGenerated: ownKey == nil,
      fingerprint: fingerprint, metadata: metadata, condition: condition, size: 1024 + body.count,
      historyID: historyID)
  }
}

extension Request {
  /// The header's value. The draft puts it in quotes; without quotes it means the same.
  fileprivate func idempotencyKey() throws -> String? {
    guard let text = headers[.idempotencyKey] else { return nil }
    let key = text.count > 1 && text.first == "\"" && text.last == "\"" ? String(text.dropFirst().dropLast()) : text
    guard IdempotencyKey.lengths.contains(key.utf8.count), key.utf8.allSatisfy({ (0x21...0x7E).contains($0) }),
      !key.contains("\"") && !key.contains("\\")
    else {
      throw Problem.invalidHeader(
        "Idempotency-Key", "must have 1 to 255 characters of printable ASCII without spaces, quotes and backslashes")
    }
    return key
  }

  /// If-Match (RFC 9110, section 13.1.1); nil if there is no such header.
  fileprivate func condition(hasSubject: Bool) throws -> VersionCondition? {
    guard let header = headers[.ifMatch] else { return nil }
    guard hasSubject else {
      throw Problem.invalidHeader("If-Match", "is not possible here: what is to be made has no version yet")
    }
    let tags = header.split(separator: ",", omittingEmptySubsequences: false).map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    guard tags != ["*"] else { return .exists }
    return .oneOf(
      Set(
        try tags.map { tag in
          // The ETag of a query has more after the version.
          guard let parts = tag.wholeMatch(of: /"([1-9][0-9]{0,17})(-[A-Za-z0-9_-]+)?"/), let version = Int64(parts.1)
          else {
            throw Problem.invalidHeader(
              "If-Match", "must be * or the ETag of a command's response or of one thing's, such as \"3\", in quotes")
          }
          return Version(version)
        }))
  }

  fileprivate func correlationID() throws -> String? {
    guard let id = headers[.correlationID] else { return nil }
    guard (1...128).contains(id.utf8.count), id.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
      throw Problem.invalidHeader("X-Correlation-Id", "must have 1 to 128 characters of printable ASCII without spaces")
    }
    return id
  }

  /// nil also if the header is malformed: the standard says to start a new trace then.
  fileprivate var traceParent: String? {
    guard let value = headers[.traceParent],
      value.wholeMatch(of: /[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}/) != nil
    else { return nil }
    return value
  }
}
