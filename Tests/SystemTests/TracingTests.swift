import Foundation
import JSON
import Observability
import TestSupport
import Testing

@Suite("Trace context")
struct TraceContextTests {
  @Test("A traceparent survives a round trip, and an invalid one is rejected")
  func parsing() throws {
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    let context = try #require(TraceContext(text))
    #expect(context.traceID == "4bf92f3577b34da6a3ce929d0e0e4736" && context.spanID == "00f067aa0ba902b7")
    #expect(context.isSampled && context.traceParent == text)
    #expect(TraceContext("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")?.isSampled == false)
    // A later version may have more parts.
    #expect(TraceContext("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what") != nil)
    for wrong in [
      "", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
      "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
      "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what",
    ] { #expect(TraceContext(wrong) == nil, "\(wrong)") }
  }
}

@Suite("Tracing", .tags(.system), .needsServers)
struct TracingTests {
  private struct Span {
    let service: String
    let name: String
    let trace: String
    let id: String
    let parent: String?
    let kind: Int64
    let attributes: [String: JSON]

    static func all(in text: String) -> [Span] {
      text.split(separator: "\n").dropFirst().flatMap { line -> [Span] in
        guard let request = try? JSON(parsing: Array(line.utf8)) else { return [] }
        return (request["body"]?["resourceSpans"]?.array ?? []).flatMap { resource -> [Span] in
          let service = attributes(resource["resource"])["service.name"]?["stringValue"]?.string ?? ""
          return (resource["scopeSpans"]?[0]?["spans"]?.array ?? []).map {
            Span(
              service: service, name: $0["name"]?.string ?? "", trace: $0["traceId"]?.string ?? "",
              id: $0["spanId"]?.string ?? "", parent: $0["parentSpanId"]?.string, kind: $0["kind"]?.integer ?? 0,
              attributes: attributes($0))
          }
        }
      }
    }

    private static func attributes(_ json: JSON?) -> [String: JSON] {
      Dictionary(
        (json?["attributes"]?.array ?? []).map { ($0["key"]?.string ?? "", $0["value"] ?? .null) }
      ) { first, _ in first }
    }
  }

  private func collector(_ arguments: String...) async throws -> (process: ChildProcess, url: String) {
    let process = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/python3"),
      [TestEnvironment.root.appendingPathComponent("Tests/SystemTests/collector.py").path] + arguments)
    try await eventually("the collector listens") { process.output.contains("\n") }
    return (process, "http://127.0.0.1:\(process.output.prefix { $0 != "\n" })")
  }

  @Test(
    "One trace covers the request, the append, the feed, the projection and the query", .freshStores,
    .freshVirtualHost)
  func journey() async throws {
    let collector = try await collector()
    let system = System(settings: [
      "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "LOG_FORMAT": "json", "LOG_LEVEL": "debug",
    ])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    try await system.startReady([.relay, .projector])
    let queries = try await system.startReady(.queryService)
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    let headers = ["traceparent": "00-\(trace)-00f067aa0ba902b7-01"]
    let product = #"{"sku":"LAMP","name":"Lamp","unitPrice":5,"tracksStock":false}"#
    let registered = try await commands.http.send("POST", "/v1/products", body: Array(product.utf8), headers: headers)
    #expect(registered.status == 201)
    let token = ["Consistency-Token": registered.headers["consistency-token"]!, "Prefer": "wait=30"]
    #expect(
      try await queries.http.send("GET", "/v1/products/LAMP", headers: headers.merging(token) { $1 }).status == 200)
    // A trace that is not sampled leaves no spans.
    let unwanted = ["traceparent": "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"]
    _ = try await queries.http.send("GET", "/v1/products/LAMP", headers: unwanted)

    let wanted: Set = [
      "POST /v1/products", "command RegisterProduct", "append", "publish", "apply", "GET /v1/products/{sku}", "query",
    ]
    try await eventually("all spans have come") {
      wanted.isSubset(of: Set(Span.all(in: collector.process.output).filter { $0.trace == trace }.map(\.name)))
    }
    let all = Span.all(in: collector.process.output)
    let spans = all.filter { $0.trace == trace }
    #expect(Set(spans.map(\.name)) == wanted, "\(spans)")
    #expect(!all.contains { $0.trace.hasPrefix("5bf92") })
    func one(_ name: String) throws -> Span { try #require(spans.first { $0.name == name }) }
    let request = try one("POST /v1/products")
    #expect(request.parent == "00f067aa0ba902b7" && request.service == "command-service" && request.kind == 2)
    #expect(request.attributes["http.response.status_code"]?["intValue"] == "201")
    let command = try one("command RegisterProduct")
    #expect(command.parent == request.id)
    #expect(try one("append").parent == command.id)
    // The spans of an event's processing belong to the request that caused it.
    #expect(try one("publish").parent == request.id && one("publish").service == "relay")
    #expect(try one("apply").parent == request.id && one("apply").service == "projector")
    #expect(try one("query").parent == one("GET /v1/products/{sku}").id)
    // A request without a traceparent starts a new trace.
    #expect(try await queries.http.get("/v1/products").status == 200)
    try await eventually("it has come") {
      Span.all(in: collector.process.output).contains { $0.name == "GET /v1/products" && $0.parent == nil }
    }
  }

  @Test(
    "Spans lost to a failing or absent collector are counted, and block nothing", .freshStores, .freshVirtualHost)
  func refusal() async throws {
    let collector = try await collector("503")
    let system = System()
    try await system.migrate()
    for endpoint in [collector.url, "http://127.0.0.1:9"] {
      let commands = try await system.startReady(.commandService, settings: ["OTEL_EXPORTER_OTLP_ENDPOINT": endpoint])
      for number in 0..<5 {
        let body: JSON = [
          "sku": .string("LAMP-\(number)-\(endpoint.count)"), "name": "Lamp", "unitPrice": 5, "tracksStock": false,
        ]
        #expect(try await commands.http.post("/v1/products", body).status == 201)
      }
      try await eventually("what was lost is counted") {
        let text = try await commands.http.get("/metrics").text
        return (Exposition(text).sum("counterflow_spans_dropped_total") ?? 0) >= 15
      }
      try await eventually("the log says so") { commands.process.output.contains("spans cannot be exported") }
      commands.process.signal(SIGTERM)
      #expect(try await commands.process.wait() == 0)
    }
    let wrong = try system.run("relay", settings: ["OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"])
    #expect(try await wrong.wait() == 78)
    #expect(wrong.output.contains("OTEL_EXPORTER_OTLP_ENDPOINT"))
  }
}
