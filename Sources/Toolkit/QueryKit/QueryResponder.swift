internal import Crypto
package import EventSourcing
internal import Foundation
package import HTTPKit
public import HTTPTypes
public import Hummingbird
internal import JSON
internal import Machine
public import Projections

extension HTTPField.Name {
  /// The answer includes every event up to this position that concerns it.
  public static let readPosition = HTTPField.Name("Read-Position")!
  /// The answer is at most this old, in milliseconds.
  public static let readLag = HTTPField.Name("Read-Lag-Ms")!
  /// Defined in RFC 7240.
  static let prefer = HTTPField.Name("Prefer")!
  static let preferenceApplied = HTTPField.Name("Preference-Applied")!
}

/// The result of a query, as JSON.
public struct QueryResult: Sendable {
  /// The JSON, as it is sent.
  public let bytes: [UInt8]
  /// The version of the stream that the result is about; nil if it is not about one stream.
  public let version: Int64?
  /// The ids of the persons whose personal data it has, for the log. The answer needs a `Reader` then.
  public var persons: [String] = []

  /// Creates a result.
  /// - Parameters:
  ///   - bytes: The body, JSON in UTF-8.
  ///   - version: The version of the stream that the result is about; nil if it is not about one stream.
  public init(bytes: [UInt8], version: Int64? = nil) { (self.bytes, self.version) = (bytes, version) }

  /// Makes the result of one row.
  public init(_ row: ReadRow) { self.init(bytes: row.document, version: row.version) }

  /// Makes one page of a list.
  /// - Parameters:
  ///   - items: the elements, each as JSON.
  ///   - next: the cursor of the next page; nil on the last page.
  public init(items: [[UInt8]], next: String?) {
    self.init(joined: Array(items.joined(separator: [UInt8(ascii: ",")])), next: next)
  }

  /// Makes one page of a list.
  /// - Parameters:
  ///   - joined: the elements as JSON, with commas between them.
  ///   - next: the cursor of the next page; nil on the last page.
  public init(joined: [UInt8], next: String?) {
    var json = JSONWriter(reserving: joined.count + 128)
    json.object { json in
      json.member("items", raw: [UInt8(ascii: "[")] + joined + [UInt8(ascii: "]")])
      json.member("nextCursor") { if let next { $0.write(next) } else { $0.writeNull() } }
    }
    self.init(bytes: json.bytes)
  }
}

/// Adds to every query what all queries share. It waits for what the caller has written, sends headers that say how
/// fresh the answer is, and sends no body that the client already has.
public struct QueryResponder: Sendable {
  static let defaultWait = Duration.seconds(2)
  /// Seconds.
  static let longestWait = 30

  let store: ReadStore
  let heads: StoreHeads
  let tokenKey: ConsistencyToken.Key
  let histories: Histories
  /// nil if nothing is cached.
  let cache: ResponseCache?

  init(
    store: ReadStore, heads: StoreHeads, tokenKey: ConsistencyToken.Key, histories: Histories, cache: ResponseCache?
  ) {
    (self.store, self.heads, self.tokenKey) = (store, heads, tokenKey)
    (self.histories, self.cache) = (histories, cache)
  }

  /// - Parameters:
  ///   - events: the write store, for queries that read events.
  ///   - cacheBytes: the most bytes of cached answers.
  package init(
    _ store: ReadStore, _ events: any StreamStore, heads: StoreHeads, tokenKey: ConsistencyToken.Key, cacheBytes: Int
  ) {
    self.init(
      store: store, heads: heads, tokenKey: tokenKey, histories: Histories(events),
      cache: ResponseCache(capacity: cacheBytes))
  }

  /// Answers a query from the events in the write store. These are current, so that there is nothing to wait for.
  /// - Parameters:
  ///   - request: the request.
  ///   - missing: the detail of the 404 problem if `body` returns nil.
  ///   - reader: who gets the answer; without one, or if it may not see personal data, the histories have none.
  ///   - body: reads the events, and makes the answer; nil if there is nothing to answer.
  public func answer(
    _ request: Request, missing: @autoclosure () -> String, to reader: Reader? = nil,
    fromEvents body: (Histories) async throws -> QueryResult?
  ) async throws -> Response {
    _ = try await targets(of: request, [])
    var headers: HTTPFields = [.cacheControl: "private, no-cache", .readLag: "0"]
    // Taken before the events are read: the answer is at least as fresh.
    if let head = heads.last { headers[.readPosition] = String(head.rawValue) }
    let answer = try await body(reader?.maySeePersonalData == true ? histories : histories.closed)
    return try respond(request, answer, headers, missing(), to: reader) { entityTag(of: $0, generations: []) }
  }

  /// Answers a query from the read store.
  /// - Parameters:
  ///   - request: the request, with its consistency token and its `If-None-Match`.
  ///   - reads: everything that `body` reads. If the first one names a stream, the answer is cached under `reads`. Then
  ///     it must be about that stream's row alone, and no other answer may have the same `reads`.
  ///   - missing: the detail of the 404 problem if `body` returns nil.
  ///   - isShared: whether equal queries that arrive together call `body` once. False for a `body` that combines them
  ///     itself.
  ///   - reader: who gets the answer. If it may not see personal data, `body` must leave it out. Such an answer is not
  ///     cached, and not shared with those who may.
  ///   - body: reads the rows, and makes the answer; nil if there is nothing to answer.
  public func answer(
    _ request: Request, _ reads: [Reads], missing: @autoclosure () -> String = "There is no such thing.",
    isShared: Bool = true, to reader: Reader? = nil,
    _ body: @escaping @Sendable (ReadAccess) async throws -> QueryResult?
  ) async throws -> Response {
    let (targets, preference) = (try await targets(of: request, reads), request.preferredWait)
    let server = store.server(for: targets)
    if !targets.isEmpty {
      let deadline = Machine.now + (preference.map { .seconds($0) } ?? Self.defaultWait)
      try Self.check(await server.progress.wait(for: targets, until: deadline))
    }
    // Taken before the query: the answer is at least as fresh.
    let freshness = server.progress.freshness(of: reads)
    let place = Place(reads, cache: reader?.maySeePersonalData == false ? nil : cache, server.progress)
    let found = place?.found
    let audience = reader?.audience ?? ""
    let answer =
      if let found { Optional(found.result) } else {
        try await ask(audience + request.uri.string, server.access, isShared, body)
      }
    var headers = HTTPFields()
    headers[.cacheControl] = "private, no-cache"
    if let freshness {
      headers[.readPosition] = String(freshness.position.rawValue)
      if let asOf = freshness.asOf {
        headers[.readLag] = String(Int64(((Machine.now - asOf) / .milliseconds(1)).rounded(.up)))
      }
    }
    if let preference, !targets.isEmpty { headers[.preferenceApplied] = "wait=\(preference)" }
    return try respond(request, answer, headers, missing(), to: reader) { answer in
      if let found { return found.tag }
      let tag = entityTag(of: answer, generations: reads.map { server.progress.generation(of: $0.projection) ?? 0 })
      // Before the history id is known, the tag differs from the tags of other replicas: do not cache it.
      if heads.historyID != nil { place?.keep(answer, tag) }
      return tag
    }
  }

  /// Where the cache may keep an answer about one stream.
  private struct Place {
    let cache: ResponseCache
    let reads: [Reads]
    /// Taken before the query.
    let mark: ReadProgress.Mark
    /// Whether `mark` is up to date. If not, the rows may have changed, and no cached answer is used.
    let isCurrent: Bool

    init?(_ reads: [Reads], cache: ResponseCache?, _ progress: ReadProgress) {
      guard let cache, reads.first?.stream != nil, let mark = progress.mark(of: reads) else { return nil }
      (self.cache, self.reads, self.mark, isCurrent) = (cache, reads, mark, progress.isCurrent)
    }

    var found: (result: QueryResult, tag: String)? { cache.find(reads, at: isCurrent ? mark : nil) }
    func keep(_ answer: QueryResult, _ tag: String) { cache.keep(answer, tag, of: reads, at: mark) }
  }

  private func ask(
    _ query: String, _ access: ReadAccess, _ isShared: Bool,
    _ body: @escaping @Sendable (ReadAccess) async throws -> QueryResult?
  ) async throws -> QueryResult? {
    try await Spans.within("query") {
      guard isShared else { return try await body(access) }
      return try await access.flights.answer(query) { try await body(access) }
    }
  }

  private func respond(
    _ request: Request, _ answer: QueryResult?, _ headers: HTTPFields, _ missing: @autoclosure () -> String,
    to reader: Reader?, tag: (QueryResult) -> String
  ) throws(Problem) -> Response {
    var headers = headers
    guard let answer else {
      var problem = Problem.notFound(missing())
      problem.headers = headers
      throw problem
    }
    reader?.record(answer.persons)
    let tag = tag(answer)
    headers[.eTag] = tag
    if request.hasAlready(tag) { return Response(status: .notModified, headers: headers) }
    return .json(answer.bytes, headers: headers)
  }

  /// Returns what the read store must have applied before the query, according to the consistency token.
  private func targets(of request: Request, _ reads: [Reads]) async throws -> [ReadProgress.Target] {
    guard let text = request.headers[.consistencyToken] else { return [] }
    let token: ConsistencyToken
    do throws(ConsistencyToken.Malformed) { token = try ConsistencyToken(text, signedWith: tokenKey) } catch {
      throw Problem.invalidHeader("Consistency-Token", "must be as a command answered it")
    }
    // Ask again before the token is rejected: the store may have been restored just now.
    if let historyID = heads.historyID, historyID != token.historyID,
      await heads.historyIDFromNowOn() != token.historyID
    {
      throw Problem(
        .conflict, "token-of-another-history", title: "The token belongs to another history",
        detail: "The write store was restored after this token was issued; the command may be lost. Omit the token."
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
        .serviceUnavailable, "not-caught-up", title: "Not caught up",
        detail:
          "What the token stands for has not come to the read tables in time; try again, or wait longer (Prefer: wait=30).",
        headers: [.retryAfter: "1"], isLogged: false)
    case .parked(let projection):
      throw Problem(
        .serviceUnavailable, "stream-parked", title: "A stream is parked",
        detail:
          "The read model \(projection) waits at an event of this stream that was refused, until an operator repairs it.",
        headers: [.retryAfter: "60"], isLogged: false)
    case .crowded:
      throw Problem.unavailable(
        "Too many requests are waiting for the read store to catch up; try again in a moment.", isLogged: false)
    }
  }

  /// Returns a tag of the history id, the generations and the bytes. It begins with the stream's version if there is
  /// one, so that a command's If-Match accepts it.
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
  /// The seconds of `Prefer: wait=…`, at most `QueryResponder.longestWait`; nil without it. RFC 7240 says that an
  /// invalid preference is ignored.
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

  /// Whether If-None-Match has the tag, by weak comparison (RFC 9110, section 13.1.2).
  fileprivate func hasAlready(_ tag: String) -> Bool {
    guard let header = headers[.ifNoneMatch] else { return false }
    return header.split(separator: ",").contains { given in
      let given = given.trimmingCharacters(in: .whitespaces)
      return given == "*" || given == tag || given == "W/" + tag
    }
  }
}
