import CounterflowTesting
import Foundation
import JSON
import Postgres
import QueryKit
import TestSupport
import Testing

@testable import bank

/// The Bank in memory and the Bank as a process, which get the same requests. Ids differ: `{0}` in a request is the
/// first account's on either side.
private struct Twins {
  struct Request {
    var method = "POST"
    var path: String
    var body: String?
    var headers: [String: String] = [:]

    static func get(_ path: String) -> Request { Request(method: "GET", path: path) }
  }

  let memory: InMemory
  let http: HTTPProbe
  private var ids: [(memory: String, process: String)] = []
  /// The tokens of the last command that had one.
  private var tokens: (memory: String, process: String)?
  private(set) var differences: [String] = []
  private(set) var statuses: [Int: Int] = [:]

  init(_ memory: InMemory, _ http: HTTPProbe) { (self.memory, self.http) = (memory, http) }

  /// Sends the request to both, and returns the response in memory and the cursors of both next pages.
  @discardableResult
  mutating func send(_ request: Request) async throws -> (json: JSON, status: Int, next: (String, String)?) {
    let (one, other) = try await (inMemory(request), process(request))
    statuses[one.status, default: 0] += 1
    if let token = one.token, let others = other.headers["consistency-token"] { tokens = (token, others) }
    if request.method == "POST", one.status == 201, other.status == 201, let id = one.json["id"]?.string,
      let others = other.json["id"]?.string, !ids.contains(where: { $0.memory == id })
    {
      ids.append((id, others))
    }
    compare(
      request,
      [
        ("status", "\(one.status)", "\(other.status)"),
        ("body", text(of: one.json, \.memory), text(of: other.json, \.process)),
        ("entity tag", version(one.entityTag), version(other.headers["etag"])),
        ("location", named(one.location ?? "", \.memory), named(other.headers["location"] ?? "", \.process)),
        ("token", "\(one.token != nil)", "\(other.headers["consistency-token"] != nil)"),
        ("content type", one.header("Content-Type") ?? "", other.headers["content-type"] ?? ""),
        ("key", key(one.header("Idempotency-Key"), request), key(other.headers["idempotency-key"], request)),
      ])
    if request.method == "GET", one.status == 200 {
      try await revalidate(request, one.entityTag, other.headers["etag"])
    }
    let next = one.json["nextCursor"]?.string.flatMap { cursor in
      other.json["nextCursor"]?.string.map { (cursor, $0) }
    }
    return (one.json, one.status, next)
  }

  /// Returns whether both answer a request alike, without a record of a difference.
  func areAlike(_ path: String) async throws -> Bool {
    let (one, other) = try await (inMemory(.get(path)), process(.get(path)))
    return one.status == other.status && text(of: one.json, \.memory) == text(of: other.json, \.process)
  }

  /// Reads a list page by page, each side with its own cursors.
  mutating func sendPages(_ path: String) async throws {
    var next = try await send(.get(path)).next
    while let cursors = next {
      next = try await send(.get("\(path)&cursor=\(cursors.0)\u{0}\(cursors.1)")).next
    }
  }

  var count: Int { ids.count }

  private func inMemory(_ request: Request) async throws -> InMemory.Response {
    try await memory.send(
      request.method, own(request.path, \.memory), request.body.map { own($0, \.memory) } ?? "",
      headers: request.headers, after: request.method == "GET" ? tokens?.memory : nil)
  }

  private func process(_ request: Request) async throws -> HTTPAnswer {
    var headers = request.headers
    if request.method == "GET", let tokens {
      headers["Consistency-Token"] = tokens.process
      headers["Prefer"] = "wait=30"
    }
    return try await http.send(
      request.method, own(request.path, \.process), body: request.body.map { Array(own($0, \.process).utf8) },
      headers: headers)
  }

  /// Puts one side's ids and cursor into a request.
  private func own(_ text: String, _ side: KeyPath<(memory: String, process: String), String>) -> String {
    var text = text
    for (index, pair) in ids.enumerated() { text = text.replacing("{\(index)}", with: pair[keyPath: side]) }
    guard let mark = text.firstIndex(of: "\u{0}"), let start = text.range(of: "cursor=")?.upperBound else {
      return text
    }
    return String(side == \.memory ? text[..<mark] : text[..<start] + text[text.index(after: mark)...])
  }

  /// Replaces one side's ids by their names.
  private func named(_ text: String, _ side: KeyPath<(memory: String, process: String), String>) -> String {
    ids.enumerated().reduce(text) { $0.replacing($1.element[keyPath: side], with: "{\($1.offset)}") }
  }

  /// A response without what must differ: times, ids of events, and generated keys. Cursors are decoded.
  private func text(of json: JSON, _ side: KeyPath<(memory: String, process: String), String>) -> String {
    func plain(_ json: JSON, _ name: String) -> JSON {
      switch json {
      case .object(let members): return .object(members.map { JSON.Member($0.name, plain($0.value, $0.name)) })
      case .array(let elements): return .array(elements.map { plain($0, name) })
      case .string(let text):
        if name == "nextCursor" {
          // A tag of the path comes first.
          let place = OpaqueCursor.decode(String(text.dropFirst(8))) ?? text
          return (try? JSON(parsing: Array(place.utf8))).map { plain($0, "place") } ?? .string(place)
        }
        if ["at", "month", "requestId"].contains(name) { return .string(name) }
        return .string(named(text, side).replacing(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/, with: "UUID"))
      default: return json
      }
    }
    return String(decoding: plain(json, "").encoded, as: UTF8.self)
  }

  /// The part of a tag that is the stream's version; its hash contains the history's id.
  private func version(_ tag: String?) -> String {
    guard let tag else { return "none" }
    // The hash alone may begin with digits and `-` too; it has 16 characters.
    guard let version = tag.wholeMatch(of: /"([0-9]{1,9})(-[A-Za-z0-9_-]{16})?"/) else { return "some" }
    return "\(version.1)\(version.2 == nil ? "" : "-")"
  }

  private func key(_ key: String?, _ request: Request) -> String {
    request.headers["Idempotency-Key"] == nil ? "\(key != nil)" : key ?? ""
  }

  private mutating func compare(_ request: Request, _ parts: [(String, String, String)]) {
    for (what, one, other) in parts where one != other {
      differences.append("\(request.method) \(request.path) \(request.body ?? ""): \(what) \(one) and \(other)")
    }
  }

  private mutating func revalidate(_ request: Request, _ one: String?, _ other: String?) async throws {
    guard let one, let other else { return }
    var (first, second) = (request, request)
    first.headers["If-None-Match"] = one
    second.headers["If-None-Match"] = other
    let (a, b) = try await (inMemory(first).status, process(second).status)
    if (a, b) != (304, 304) { differences.append("\(request.path) again: \(a) and \(b)") }
  }
}

@Suite("Bank, in memory and as a process")
struct InMemoryBankTests {
  @Test("The same requests get the same statuses, bodies and entity tags", .freshDatabase())
  func twins() async throws {
    let service = try await RunningService(
      try ChildProcess(
        TestEnvironment.binaries.appendingPathComponent("bank"), ["dev"],
        environment: ["DATABASE_URL": try #require(FreshDatabase.current?.url), "HTTP_PORT": "0"]))
    try await service.becomesReady()
    let reader = try await FreshDatabase.current.connect()
    try await eventually("the reaction has begun") {
      try await reader.query(
        "select count(*) from projections.checkpoints where projection = 'reaction/deliver' and owner is not null"
      ).value(Int.self) == 16
    }
    var twins = Twins(try await InMemory(Bank()), service.http)
    var fuzzer = Fuzzer(27)
    // A token names the streams of one command: an account that is not read before the next command may come later.
    for number in 0..<5 {
      try await open(&twins, number)
      try await read(number, &twins)
    }
    for request in Self.everyKind { try await twins.send(request) }
    // The next tokens name other accounts.
    try await eventually("the process shows what they did") { try await twins.areAlike("/v1/accounts/{0}") }
    for number in 0..<120 {
      let (request, account) = next(number, twins.count, &fuzzer.random)
      let answer = try await twins.send(request)
      // A payment's reaction comes later in the process, and no token names what it did.
      if request.path.hasSuffix("/payments"), answer.status == 200 {
        for id in 0..<twins.count {
          for path in ["/history?limit=1000", "", "/statement?limit=100"] {
            try await eventually("the payment has arrived") { try await twins.areAlike("/v1/accounts/{\(id)}\(path)") }
          }
        }
      }
      try await read(account, &twins)
    }
    #expect(twins.differences.isEmpty, "\(twins.differences.prefix(5).joined(separator: "\n"))")
    // The sequence meets every kind of response.
    for status in [200, 201, 400, 404, 409, 412, 415, 422] { #expect(twins.statuses[status] ?? 0 > 0, "\(status)") }
  }

  /// One request for each kind of response that a random sequence might not meet.
  private static let everyKind: [Twins.Request] = {
    let path = "/v1/accounts/{0}/deposits"
    let money = #"{"amount":1,"reference":"r"}"#
    return [
      .init(path: path), .init(path: path, body: "{"),
      .init(path: "/v1/accounts/{0}/withdrawals", body: #"{"amount":1000000,"reference":"r"}"#),
      .init(path: "/v1/accounts/nobody/withdrawals", body: money),
      .init(path: path, body: money, headers: ["If-Match": "\"99\""]),
      .init(path: path, body: money, headers: ["Idempotency-Key": "every"]),
      .init(path: path, body: #"{"amount":2,"reference":"r"}"#, headers: ["Idempotency-Key": "every"]),
    ]
  }()

  private func open(_ twins: inout Twins, _ number: Int) async throws {
    try await twins.send(
      .init(
        method: "POST", path: "/v1/accounts", body: #"{"owner":"owner \#(number)"}"#,
        headers: ["Idempotency-Key": "open-\(number)"]))
    try await twins.send(
      .init(
        method: "POST", path: "/v1/accounts/{\(number)}/deposits", body: #"{"amount":100,"reference":"opening"}"#))
  }

  /// Returns a command, and the account that it is about.
  private func next(_ number: Int, _ count: Int, _ random: inout SplitMix) -> (Twins.Request, Int) {
    let account = Int.random(in: 0..<count, using: &random)
    let other = Int.random(in: 0..<count, using: &random)
    let amount = Int.random(in: -2...60, using: &random)
    let money = #""amount":\#(amount),"reference":"r\#(number)""#
    let path = "/v1/accounts/{\(account)}"
    var request: Twins.Request
    switch Int.random(in: 0..<12, using: &random) {
    case 0...1: request = .init(path: path + "/deposits", body: "{\(money)}")
    case 2...3: request = .init(path: path + "/withdrawals", body: "{\(money)}")
    case 4...5: request = .init(path: path + "/transfers", body: #"{\#(money),"to":"{\#(other)}"}"#)
    case 6...7: request = .init(path: path + "/payments", body: #"{\#(money),"to":"{\#(other)}"}"#)
    case 8: request = .init(method: "DELETE", path: path)
    case 9: request = .init(path: "/v1/accounts", body: #"{"owner":"owner \#(number + 100)"}"#)
    case 10:
      request = .init(
        path: path + "/deposits", body: ["", "{", "[]", #"{"amount":"5"}"#, "{}"].randomElement(using: &random))
    default: request = .init(path: "/v1/accounts/nobody/withdrawals", body: "{\(money)}")
    }
    if request.body == "" { request.body = nil }
    // Some repeat a key, with the same request or with another one.
    switch Int.random(in: 0..<4, using: &random) {
    case 0: request.headers["Idempotency-Key"] = "k\(Int.random(in: 0..<10, using: &random))"
    case 1: request.headers["If-Match"] = "\"\(Int.random(in: 1...12, using: &random))\""
    default: break
    }
    return (request, account)
  }

  private func read(_ account: Int, _ twins: inout Twins) async throws {
    let path = "/v1/accounts/{\(account)}"
    for query in ["", "?consistency=strong", "?version=2", "?version=0", "/months", "/months?month=x"] {
      try await twins.send(.get(path + query))
    }
    try await twins.sendPages(path + "/statement?limit=3")
    try await twins.sendPages(path + "/history?limit=4")
    try await twins.sendPages("/v1/accounts?limit=4")
    try await twins.send(.get("/v1/accounts?owner=owner%201"))
    try await twins.send(.get("/v1/accounts/nobody"))
  }
}
