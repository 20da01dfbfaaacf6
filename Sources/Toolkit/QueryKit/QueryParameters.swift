public import EventSourcing
internal import Foundation
public import HTTPKit
internal import HTTPTypes
public import Hummingbird
internal import JSON

/// Reads and checks a query's parameters: each may occur once, and unknown ones are rejected.
public struct QueryParameters {
  private let given: [(name: String, value: String)]
  private let path: String
  private var known: Set<String> = []

  /// Reads the query string of a request.
  public init(_ request: Request) {
    path = request.uri.path
    given = (request.uri.query ?? "").split(separator: "&").map { part in
      let ends = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return (Self.decode(ends[0]), ends.count > 1 ? Self.decode(ends[1]) : "")
    }
  }

  /// `RequestRules` has already rejected text that cannot be decoded.
  private static func decode(_ text: Substring) -> String { text.removingPercentEncoding ?? String(text) }

  /// Returns the problem (400) of an invalid parameter.
  /// - Parameters:
  ///   - name: the parameter's name.
  ///   - detail: follows the parameter's name, such as `must be given once`.
  public static func wrong(_ name: String, _ detail: String) -> Problem {
    Problem(
      .badRequest, "invalid-parameter", title: "Invalid query parameter", detail: "\(name) \(detail).",
      extensions: [.init("parameter", .string(name))])
  }

  /// Rejects parameters that were not read.
  /// - Throws: a `Problem` that names the first of them.
  public consuming func finish() throws {
    guard let stray = given.first(where: { !known.contains($0.name) }) else { return }
    let allowed = known.isEmpty ? "none" : known.sorted().joined(separator: ", ")
    throw Self.wrong(stray.name, "is not known here; allowed: \(allowed)")
  }

  private mutating func value(_ name: String) throws -> String? {
    known.insert(name)
    let values = given.filter { $0.name == name }
    guard values.count < 2 else { throw Self.wrong(name, "must be given once") }
    return values.first?.value
  }

  /// Returns a parameter's text, or nil without the parameter.
  /// - Parameters:
  ///   - name: the parameter's name.
  ///   - problem: returns what is wrong with the text, or nil.
  /// - Throws: a `Problem`, as all methods that read a parameter do.
  public mutating func text(_ name: String, problem: (String) -> String?) throws -> String? {
    guard let text = try value(name) else { return nil }
    guard !text.unicodeScalars.contains("\0") else { throw Self.wrong(name, "must not contain NUL") }
    if let problem = problem(text) { throw Self.wrong(name, problem) }
    return text
  }

  /// Returns the search text `q`, 1 to 200 Unicode scalars.
  public mutating func search() throws -> String? {
    try text("q") { (1...200).contains($0.unicodeScalars.count) ? nil : "must have 1 to 200 characters" }
  }

  /// Returns one of the allowed texts.
  public mutating func choice(_ name: String, _ allowed: [String]) throws -> String? {
    try text(name) { allowed.contains($0) ? nil : "must be one of \(allowed.joined(separator: ", "))" }
  }

  /// Returns a parameter that is `true` or `false`; nil if the request does not have it.
  /// - Throws: a `Problem` with status 400 for any other value.
  public mutating func boolean(_ name: String) throws -> Bool? {
    try choice(name, ["true", "false"]).map { $0 == "true" }
  }

  /// Returns an amount in minor units, 0 or more.
  public mutating func amount(_ name: String) throws -> Int64? {
    let text = try text(name) { text in
      Int64(digits: text) != nil ? nil : "must be a whole number of minor units, 0 or more"
    }
    return text.flatMap { Int64(digits: $0) }
  }

  /// Returns a time; a day stands for its start in UTC.
  public mutating func time(_ name: String) throws -> Timestamp? {
    let read = { (text: String) in Timestamp(text) ?? Timestamp(text + "T00:00:00Z") }
    let text = try text(name) {
      read($0) == nil ? "must be a time as in RFC 3339, such as 2026-11-21T09:30:00Z, or a day such as 2026-11-21" : nil
    }
    return text.flatMap(read)
  }

  /// Returns the moment that `version` or `at` names; nil without both, which means now.
  public mutating func moment() throws -> Histories.Moment? {
    let version = try text("version") { text in
      Int64(digits: text).map { $0 >= 1 } ?? false ? nil : "must be a version, a whole number from 1"
    }
    let time = try time("at")
    guard version == nil || time == nil else { throw Self.wrong("at", "must be left out beside version") }
    return version.flatMap { Int64($0) }.map { .version(Version($0)) } ?? time.map { .time($0) }
  }

  package static func isDay(_ text: String) -> Bool { text.utf8.count == 10 && Timestamp(text + "T00:00:00Z") != nil }

  /// Returns a day such as `2026-11-21`.
  public mutating func day(_ name: String) throws -> String? {
    try text(name) { Self.isDay($0) ? nil : "must be a day such as 2026-11-21" }
  }

  /// Returns `limit`, from 1 to `most`.
  public mutating func limit(default count: Int, atMost most: Int) throws -> Int {
    let text = try text("limit") { text in
      Int64(digits: text).map { (1...Int64(most)).contains($0) } ?? false
        ? nil : "must be a whole number from 1 to \(most)"
    }
    return text.flatMap { Int($0) } ?? count
  }

  /// Returns what `read` makes of `cursor`, which must come from an answer to the same query.
  public mutating func cursor<Cursor>(_ read: (String) -> Cursor?) throws -> Cursor? {
    let tag = tag
    func own(_ text: String) -> Cursor? { text.hasPrefix(tag) ? read(String(text.dropFirst(tag.count))) : nil }
    let text = try text("cursor") {
      own($0) == nil ? "must be the nextCursor of an earlier answer to the same query" : nil
    }
    return text.flatMap(own)
  }

  /// The start of this query's cursors: a hash (FNV-1a) of the path and of all parameters except `cursor` and `limit`.
  public var tag: String {
    let asked = given.filter { !["cursor", "limit"].contains($0.name) }.map { "\($0.name)=\($0.value)" }.sorted()
    var hash: UInt32 = 2_166_136_261
    for byte in (path + "?" + asked.joined(separator: "&")).utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}
