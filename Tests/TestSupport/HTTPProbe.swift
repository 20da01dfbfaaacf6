internal import AsyncHTTPClient
internal import Foundation
public import JSON
internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

/// The response of a service.
public struct HTTPAnswer: Sendable {
  public let status: Int
  public let headers: [String: String]
  public let body: [UInt8]

  public var text: String { String(decoding: body, as: UTF8.self) }
  public var json: JSON { (try? JSON(parsing: body)) ?? .null }
  /// The last part of the problem type.
  public var problem: String? { json["type"]?.string?.split(separator: ":").last.map(String.init) }
}

/// Records HTTP requests and their responses, for tests that check all of them.
public final class HTTPExchanges: Sendable {
  @TaskLocal public static var current: HTTPExchanges?

  private let all = Mutex<[JSON]>([])

  public init() {}

  func add(_ method: String, _ path: String, _ answer: HTTPAnswer) {
    let entry: JSON = [
      "method": .string(method), "path": .string(path), "status": .integer(Int64(answer.status)),
      "contentType": .string(answer.headers["content-type"] ?? ""), "body": .string(answer.text),
    ]
    all.withLock { $0.append(entry) }
  }

  public var json: JSON { all.withLock { .array($0) } }
}

/// An HTTP client for tests.
public struct HTTPProbe: Sendable {
  public let base: String
  /// Headers of every request.
  public var headers: [String: String] = [:]

  /// The client of all tests. It does not retry a failed connection or follow a redirect.
  private static let client: HTTPClient = {
    var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
    configuration.connectionPool.retryConnectionEstablishment = false
    configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 1_000
    return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
  }()

  public init(_ base: String) { self.base = base }

  public func get(_ path: String) async throws -> HTTPAnswer { try await send("GET", path) }

  public func post(_ path: String, _ json: JSON) async throws -> HTTPAnswer {
    try await send("POST", path, body: json.encoded)
  }

  public func send(
    _ method: String, _ path: String, body: [UInt8]? = nil, contentType: String? = "application/json",
    headers: [String: String] = [:]
  ) async throws -> HTTPAnswer {
    var request = HTTPClientRequest(url: base + path)
    request.method = .init(rawValue: method)
    if let body {
      request.body = .bytes(body)
      if let contentType { request.headers.add(name: "Content-Type", value: contentType) }
    }
    for (name, value) in self.headers.merging(headers, uniquingKeysWith: { $1 }) {
      request.headers.replaceOrAdd(name: name, value: value)
    }
    let response = try await Self.client.execute(request, timeout: .seconds(120))
    let received = try await response.body.collect(upTo: 1 << 30)
    let fields = response.headers.map { ($0.name.lowercased(), $0.value) }
    let answer = HTTPAnswer(
      status: Int(response.status.code), headers: Dictionary(fields) { "\($0), \($1)" },
      body: Array(received.readableBytesView))
    HTTPExchanges.current?.add(method, path, answer)
    return answer
  }

  /// Sends a GET request, and returns what has arrived so many seconds after the response head.
  public func stream(_ path: String, headers: [String: String] = [:], seconds: Double) async throws -> HTTPAnswer {
    let all = self.headers.merging(headers) { $1 }
    let curl = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/curl"),
      ["-sNi"] + all.sorted { $0.key < $1.key }.flatMap { ["-H", "\($0.key): \($0.value)"] }
        + [base + path])
    try await eventually("\(path) is answered") { !curl.isRunning || curl.output.contains("\r\n\r\n") }
    if curl.isRunning { try await Task.sleep(for: .seconds(seconds)) }
    curl.signal(SIGKILL)
    try await curl.wait()
    let parts = curl.output.split(separator: "\r\n\r\n", maxSplits: 1).map(String.init)
    let lines = (parts.first ?? "").split(separator: "\r\n")
    let fields = lines.dropFirst().compactMap { line -> (String, String)? in
      let field = line.split(separator: ":", maxSplits: 1)
      return field.count == 2 ? (field[0].lowercased(), field[1].trimmingCharacters(in: .whitespaces)) : nil
    }
    let answer = HTTPAnswer(
      status: lines.first.flatMap { Int($0.split(separator: " ")[1]) } ?? 0,
      headers: Dictionary(fields) { $1 }, body: Array((parts.count > 1 ? parts[1] : "").utf8))
    HTTPExchanges.current?.add("GET", path, answer)
    return answer
  }
}
