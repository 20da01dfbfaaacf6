import Foundation
import JSON
import TestSupport
import Testing

@Suite("HTTP connections", .tags(.system), .needsServers)
struct HTTPConnectionTests {
  private static let health = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

  private func get(_ fields: String..., version: String = "1.1") -> String {
    "GET /healthz HTTP/\(version)\r\n" + fields.map { $0 + "\r\n" }.joined() + "\r\n"
  }

  private func post(_ sku: String, _ fields: String..., body: String? = nil) -> String {
    let product = #"{"sku":"\#(sku)","name":"Lantern","unitPrice":300,"tracksStock":false}"#
    let length = body == nil ? ["Content-Length: \(product.utf8.count)"] : []
    let lines = ["POST /v1/products HTTP/1.1", "Host: a", "Content-Type: application/json"] + length + fields
    return lines.map { $0 + "\r\n" }.joined() + "\r\n" + (body ?? product)
  }

  @Test("Requests after the last response of a connection are not executed", .freshDatabase())
  func last() async throws {
    let system = System()
    try await system.migrate()
    let http = try await system.startReady(.commandService).http
    let chunks = "2\r\n{}\r\n0\r\n\r\n"
    let cases = [
      (get("Host: a", "Host: a"), "400 invalid-header"), (get(), "400 invalid-header"),
      (post("NONE", "Transfer-Encoding: gzip, chunked", body: chunks), "501 unknown-transfer-coding"),
      (post("NONE", "Transfer-Encoding: chunked", body: "nonsense\r\n"), "400 unreadable-body"),
      (get("Host: a", "Connection: close"), "200"),
    ]
    for (number, (request, expected)) in cases.enumerated() {
      let sku = "PIPE-\(number)"
      // An earlier request, so that the two after it arrive together.
      let received = try await http.raw(Self.health + request + post(sku))
      #expect(statuses(received) == ["200", expected], "\(received)")
      #expect(received.contains("Connection: close"), "\(received)")
      #expect(statuses(try await http.raw(request + post(sku))) == [expected])
      #expect(statuses(try await http.raw(post(sku))) == ["201"], "\(request) was followed by a command")
    }
    // Nothing is lost while the connection stays open.
    let several = post("KEPT-1") + Self.health + post("KEPT-2")
    #expect(statuses(try await http.raw(several)) == ["201", "200", "201"])
    #expect(statuses(try await http.raw(Self.health + "nonsense\r\n\r\n")) == ["200", "400 malformed-request"])
  }

  @Test("A connection closes after the response if the request asks for it, in any spelling", .freshDatabase())
  func close() async throws {
    let system = System()
    try await system.migrate()
    let http = try await system.startReady(.commandService).http
    for field in ["close", "Close", "keep-alive, close", "close, TE", "TE\r\nConnection: close"] {
      let received = try await http.raw(get("Host: a", "Connection: \(field)"), Self.health)
      #expect(statuses(received) == ["200"], "\(field): \(received)")
      #expect(received.contains("Connection: close"), "\(field): \(received)")
    }
    let kept = try await http.raw(get("Host: a", "Connection: keep-alive"), Self.health)
    #expect(statuses(kept) == ["200", "200"] && !kept.contains("Connection: close"), "\(kept)")
  }

  @Test("HTTP/1.0 requests follow the rules of HTTP/1.0", .freshDatabase(), .freshVirtualHost)
  func old() async throws {
    let system = System()
    try await system.migrate()
    let http = try await system.startReady(.commandService).http
    for request in [get(version: "1.0"), get("Host: a", "Connection: keep-alive", version: "1.0")] {
      let received = try await http.raw(request, Self.health)
      #expect(statuses(received) == ["200"], "\(received)")
      #expect(received.contains("Connection: close"), "\(received)")
    }
    #expect(statuses(try await http.raw(get("Host: a", "Host: b", version: "1.0"))) == ["400 invalid-header"])
    let expecting = post("OLD", "Expect: 100-continue").replacing("HTTP/1.1", with: "HTTP/1.0")
    #expect(statuses(try await http.raw(expecting)) == ["201"])
    // HTTP/1.0 has no chunked coding: a response without a length ends with the connection.
    try await system.startReady([.relay, .projector])
    let queries = try await system.startReady(.queryService).http
    try await eventually("changes are followed") {
      let stream = try await queries.raw("GET /v1/changes HTTP/1.0\r\n\r\n")
      guard statuses(stream) == ["200"] else { return false }
      #expect(stream.hasPrefix("HTTP/1.0") && !stream.lowercased().contains("transfer-encoding"), "\(stream)")
      #expect(stream.contains("\r\n\r\nretry: 1000"), "\(stream)")
      return true
    }
  }
}
