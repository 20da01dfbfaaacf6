internal import Crypto
internal import EventSourcing
internal import Foundation
public import HTTPTypes
public import Hummingbird
internal import JSON
public import Projections
internal import ServiceKit

extension HTTPField.Name {
  public static let readPosition = HTTPField.Name("Read-Position")!
  public static let readLag = HTTPField.Name("Read-Lag-Ms")!
  /// RFC 7240.
  static let prefer = HTTPField.Name("Prefer")!
  static let preferenceApplied = HTTPField.Name("Preference-Applied")!
}

/// What a query found: JSON as it is sent.
public struct QueryResult: Sendable {
  public let bytes: [UInt8]
  /// Of the one stream that it is about.
  public let version: Int64?

  public init(bytes: [UInt8], version: Int64? = nil) { (self.bytes, self.version) = (bytes, version) }

  public init(_ row: ReadRow) { self.init(bytes: row.document, version: row.version) }

  /// A page of a list.
  /// - Parameters:
  ///   - items: JSON each.
  ///   - next: the cursor of the next page; nil on the last one.
  public init(items: [[UInt8]], next: String?) {
    self.init(joined: Array(items.joined(separator: [UInt8(ascii: ",")])), next: next)
  }

  /// - Parameter joined: the elements of a JSON array.
  public init(joined: [UInt8], next: String?) {
    var json = JSONWriter(reserving: joined.count + 128)
    json.object { json in
      json.member("items", raw: [UInt8(ascii: "[")] + joined + [UInt8(ascii: "]")])
      json.member("nextCursor") { if let next { $0.write(next) } else { $0.writeNull() } }
    }
    self.init(bytes: json.bytes)
  }
}

/// What surrounds every query: waiting for what the caller has written, saying how fresh the answer is, and sending nothing
/// that the caller has already.
public struct QueryResponder: Sendable {
  static let defaultWait = Duration.seconds(2)
  static let longestWait = 30

  let store: ReadStore
  let heads: StoreHeads
  let tokenKey: ConsistencyToken.Key
  let histories: Histories
  /// nil for none.
  let cache: ResponseCache?

  /// Answers from the events, which need not be waited for.
  public func answer(
    _ request: Request, missing: @autoclosure () -> String, fromEvents body: (Histories) async throws -> QueryResult?
  ) async throws -> Response {
    _ = try await targets(of: request, [])
    var headers: HTTPFields = [.cacheControl: "private, no-cache", .readLag: "0"]
    // Of before the events are read.
    if let head = heads.last { headers[.readPosition] = String(head.rawValue) }
    return try respond(request, try await body(histories), headers, missing()) { entityTag(of: $0, generations: []) }
  }

  /// - Parameters:
  ///   - reads: everything that `body` reads. Where the first is one stream's row, the answer is about that alone, and no other
  ///     answer reads just the same: it may be kept in memory.
  ///   - missing: what is said where `body` finds nothing.
  ///   - isShared: the same query is asked once for all who ask it at a time. Not for a body that sees to that itself.
  public func answer(
    _ request: Request, _ reads: [Reads], missing: @autoclosure () -> String = "There is no such thing.",
    isShared: Bool = true, _ body: @escaping @Sendable (ReadAccess) async throws -> QueryResult?
  ) async throws -> Response {
    let (targets, preference) = (try await targets(of: request, reads), request.preferredWait)
    let server = store.server(for: targets)
    if !targets.isEmpty {
      let deadline = ContinuousClock.now + (preference.map { .seconds($0) } ?? Self.defaultWait)
      try Self.check(await server.progress.wait(for: targets, until: deadline))
    }
    // Of before the query: what it finds is at least as fresh.
    let freshness = server.progress.freshness(of: reads)
    let place = Place(reads, cache: cache, server.progress)
    let found = place?.found
    let answer = if let found { Optional(found.result) } else { try await ask(request, server.access, isShared, body) }
    var headers = HTTPFields()
    headers[.cacheControl] = "private, no-cache"
    if let freshness {
      headers[.readPosition] = String(freshness.position.rawValue)
      if let asOf = freshness.asOf {
        headers[.readLag] = String(Int64(((ContinuousClock.now - asOf) / .milliseconds(1)).rounded(.up)))
      }
    }
    if let preference, !targets.isEmpty { headers[.preferenceApplied] = "wait=\(preference)" }
    return try respond(request, answer, headers, missing()) { answer in
      if let found { return found.tag }
      let tag = entityTag(of: answer, generations: reads.map { server.progress.generation(of: $0.projection) ?? 0 })
      // A tag that was made before the history was known is no other query-service's.
      if heads.historyID != nil { place?.keep(answer, tag) }
      return tag
    }
  }

  /// Where an answer may be in memory: one about one thing.
  private struct Place {
    let cache: ResponseCache
    let reads: [Reads]
    /// Of before the query.
    let mark: ReadProgress.Mark
    /// Otherwise it may have moved since, and what was found then is not given out.
    let isCurrent: Bool

    init?(_ reads: [Reads], cache: ResponseCache?, _ progress: ReadProgress) {
      guard let cache, reads.first?.stream != nil, let mark = progress.mark(of: reads) else { return nil }
      (self.cache, self.reads, self.mark, isCurrent) = (cache, reads, mark, progress.isCurrent)
    }

    var found: (result: QueryResult, tag: String)? { cache.find(reads, at: isCurrent ? mark : nil) }
    func keep(_ answer: QueryResult, _ tag: String) { cache.keep(answer, tag, of: reads, at: mark) }
  }

  private func ask(
    _ request: Request, _ access: ReadAccess, _ isShared: Bool,
    _ body: @escaping @Sendable (ReadAccess) async throws -> QueryResult?
  ) async throws -> QueryResult? {
    try await Spans.within("query") {
      guard isShared else { return try await body(access) }
      return try await access.flights.answer(request.uri.string) { try await body(access) }
    }
  }

  private func respond(
    _ request: Request, _ answer: QueryResult?, _ headers: HTTPFields, _ missing: @autoclosure () -> String,
    tag: (QueryResult) -> String
  ) throws(Problem) -> Response {
    var headers = headers
    guard let answer else {
      var problem = Problem.notFound(missing())
      problem.headers = headers
      throw problem
    }
    let tag = tag(answer)
    headers[.eTag] = tag
    if request.hasAlready(tag) { return Response(status: .notModified, headers: headers) }
    return .json(answer.bytes, headers: headers)
  }

  /// What must have come before the answer is read.
  private func targets(of request: Request, _ reads: [Reads]) async throws -> [ReadProgress.Target] {
    guard let text = request.headers[.consistencyToken] else { return [] }
    let token: ConsistencyToken
    do throws(ConsistencyToken.Malformed) { token = try ConsistencyToken(text, signedWith: tokenKey) } catch {
      throw Problem.invalidHeader("Consistency-Token", "must be as a command answered it")
    }
    // Looked at again before it is called another's: the store may have been restored just now.
    if let historyID = heads.historyID, historyID != token.historyID,
      await heads.historyIDFromNowOn() != token.historyID
    {
      throw Problem(
        .conflict, "token-of-another-history", title: "The token is of another history",
        detail: "The write store was restored after this token was given; what it stands for may be gone. Leave it out."
      )
    }
    return reads.flatMap { read in
      token.entries.filter { read.stream == nil || read.stream?.wideHash == $0.stream }.map {
        ReadProgress.Target(
          projection: read.projection, stream: $0.stream, position: $0.position, historyID: token.historyID)
      }
    }
  }

  private static func check(_ outcome: ReadProgress.Outcome) throws {
    switch outcome {
    case .reached: return
    case .late:
      throw Problem(
        .serviceUnavailable, "not-caught-up", title: "Not there yet",
        detail:
          "What the token stands for has not come to the read tables in time; try again, or wait longer (Prefer: wait=30).",
        headers: [.retryAfter: "1"], isLogged: false)
    case .parked(let projection):
      throw Problem(
        .serviceUnavailable, "stream-parked", title: "Its events are held up",
        detail:
          "The read model \(projection) waits at an event of this stream that was refused, until an operator repairs it.",
        headers: [.retryAfter: "60"], isLogged: false)
    case .crowded:
      throw Problem.unavailable("Too many requests wait for what was written; try again in a moment.", isLogged: false)
    }
  }

  /// Of one history, one generation and these bytes; begins with the version where there is one, so that a command's If-Match
  /// understands it.
  private func entityTag(of answer: QueryResult, generations: [Int]) -> String {
    var hash = SHA256()
    if let historyID = heads.historyID { withUnsafeBytes(of: historyID.uuid) { hash.update(bufferPointer: $0) } }
    for generation in generations { withUnsafeBytes(of: generation) { hash.update(bufferPointer: $0) } }
    hash.update(data: answer.bytes)
    return "\"" + (answer.version.map { "\($0)-" } ?? "")
      + Base64URL.encode(hash.finalize().withUnsafeBytes { Array($0.prefix(12)) }) + "\""
  }
}

extension Request {
  /// Seconds of `Prefer: wait=…`, at most `QueryResponder.longestWait`; nil for none. A preference that makes no sense is ignored, as
  /// RFC 7240 says.
  fileprivate var preferredWait: Int? {
    let preferences = headers[values: .prefer].flatMap { $0.split(separator: ",") }
    for preference in preferences {
      let parts = preference.prefix { $0 != ";" }.split(separator: "=", maxSplits: 1)
        .map { $0.trimmingCharacters(in: .whitespaces) }
      if parts.count == 2, parts[0].lowercased() == "wait",
        let text = Optional(parts[1].trimmingPrefix("\"").prefix { $0 != "\"" }), !text.isEmpty,
        text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
      {
        return Int(text).map { min($0, QueryResponder.longestWait) } ?? QueryResponder.longestWait
      }
    }
    return nil
  }

  /// If-None-Match, by the weak comparison (RFC 9110, section 13.1.2).
  fileprivate func hasAlready(_ tag: String) -> Bool {
    guard let header = headers[.ifNoneMatch] else { return false }
    return header.split(separator: ",").contains { given in
      let given = given.trimmingCharacters(in: .whitespaces)
      return given == "*" || given == tag || given == "W/" + tag
    }
  }
}
