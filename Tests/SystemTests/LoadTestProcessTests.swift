import Foundation
import Histogram
import JSON
import TestSupport
import Testing

@testable import LoadTest

@Suite("Load test", .tags(.integration), .needsServers, .whenThereIsRoom)
struct LoadTestProcessTests {
  @Test(
    "Each profile runs against real services, and its report matches the store", .freshVirtualHost,
    .freshStores)
  func profiles() async throws {
    let system = System()
    try await system.migrate()
    async let relay = system.startReady(.relay)
    async let projector = system.startReady(.projector)
    let commands = try await system.startReady(.commandService)
    let queries = try await system.startReady(.queryService)
    _ = try await (relay, projector)
    let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("loadtest"))
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    func load(_ arguments: String..., status: Int32 = 0) async throws -> JSON {
      let file = folder.appendingPathComponent(UUID().uuidString)
      let process = try system.run(
        "loadtest",
        arguments + [
          "--commands", commands.http.base, "--queries", queries.http.base, "--json", file.path, "--warm-up", "0",
          "--timeout", "60",
        ])
      #expect(try await process.wait() == status, "\(process.output)")
      return try JSON(parsing: Array(Data(contentsOf: file)))
    }
    func count(_ report: JSON, _ operation: String) -> Int64? {
      report["trials"]?[0]?["operations"]?.array?.first { $0["name"]?.string == operation }?["latency"]?["count"]?
        .integer
    }
    let checkout = try await load("checkout", "--rate", "20", "--duration", "2")
    #expect(checkout["trials"]?[0]?["errors"]?.integer == 0)
    for step in ["place order", "pay", "ship", "deliver", "placed to delivered"] {
      #expect(count(checkout, step) == 40)
    }
    try await eventually("all are delivered") {
      try await queries.http.get("/v1/orders?status=delivered&limit=100").json["items"]?.array?.count == 40
    }
    let both = try await load("read-your-writes", "--rate", "20", "--duration", "2")
    #expect(count(both, "read with its token") == 40 && both["trials"]?[0]?["errors"]?.integer == 0)
    let hot = try await load("hot", "--rate", "40", "--duration", "1")
    #expect(count(hot, "place order") == 40)
    let read = try await load("read", "--closed", "--connections", "4", "--duration", "1")
    #expect((count(read, "order by id") ?? 0) > 0 && read["trials"]?[0]?["errors"]?.integer == 0)

    // Ids that need percent-encoding in a path.
    for sku in ["Big lamp", "A.B-C d"] {
      let product: JSON = ["sku": .string(sku), "name": .string(sku), "unitPrice": 5, "tracksStock": false]
      #expect(try await commands.http.post("/v1/products", product).status == 201)
    }
    let token = try await commands.http.post(
      "/v1/orders", ["customerId": "Ada L", "lines": [["sku": "Big lamp", "quantity": 1]]]
    ).headers["consistency-token"]
    #expect(
      try await queries.http.send("GET", "/v1/products/Big%20lamp", headers: ["Consistency-Token": token ?? ""]).status
        == 200)
    let encoded = try await load("read", "--rate", "100", "--duration", "1", "--reads", "product=1,page=1")
    #expect(encoded["trials"]?[0]?["errors"]?.integer == 0, "\(encoded)")

    let impossible = try await load("write", "--rate", "8", "--duration", "0.5", "--find-max", "p50<0.001ms", status: 1)
    let searches = try #require(impossible["searches"]?.array)
    #expect(searches.count == 1 && searches[0]["found"]?.integer == nil)
    #expect(impossible["trials"]?.array?.isEmpty == true)

    let page = folder.appendingPathComponent("page.html")
    let compared = try await load("--compare", "--rate", "20", "--duration", "1", "--report", page.path)
    #expect(compared["trials"]?.array?.compactMap { $0["profile"]?.string } == ["write", "read", "mixed"])
    let html = try String(contentsOf: page, encoding: .utf8)
    // The page loads nothing and contains its data.
    let browser = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/python3"),
      [TestEnvironment.root.appendingPathComponent("Tests/SystemTests/report.py").path, page.path],
      environment: ["HOME": folder.path])
    #expect(try await browser.wait() == 0, "\(browser.output)")
    #expect(!html.contains("src=") && !html.contains("<link") && html.contains("\"profile\":\"mixed\""))
  }

  @Test("A stall increases the latency of every request that was due during it", .freshVirtualHost, .freshStores)
  func stall() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let file = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("stall"))
    let process = try system.run(
      "loadtest",
      [
        "write", "--rate", "50", "--duration", "6", "--warm-up", "0", "--commands", commands.http.base, "--queries",
        commands.http.base, "--visibility", "0", "--connections", "2", "--json", file.path,
      ])
    try await eventually("it is under way") { process.output.contains("   0 s") }
    let stopped = try await commands.process.suspend()
    try await eventually("loadtest has offered for two seconds more") { process.output.contains("   2 s") }
    ChildProcess.resume(stopped)
    #expect(try await process.wait() == 0, "\(process.output)")
    // There are only two connections: a closed loop would report two slow requests out of 300.
    let report = try JSONDecoder().decode(Report.self, from: Data(contentsOf: file))
    let trial = try #require(report.trials.first)
    #expect(trial.operations[0].latency?.count == 300 && trial.errors == 0, "\(trial)")
    let latency = try #require(trial.latency)
    #expect(latency.p90 > 500)
  }

  /// A server for `loadtest`: handles one request at a time, each for at least `seconds`, and closes the connection or
  /// not.
  private func server(seconds: Double, closes: Bool, status: Int = 200, body: String = "{}") async throws -> (
    process: ChildProcess, url: String
  ) {
    let script = """
      import http.server, threading, time
      turn = threading.Lock()
      class Handler(http.server.BaseHTTPRequestHandler):
          protocol_version = "HTTP/1.1"
          def do_GET(self):
              with turn:
                  time.sleep(\(seconds))
              self.send_response(\(status))
              self.send_header("Content-Length", "\(body.utf8.count)")
              self.end_headers()
              self.wfile.write(b'\(body)')
              self.close_connection = \(closes ? "True" : "False")
          def log_message(self, *_): pass
      server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
      print(server.server_address[1], flush=True)
      server.serve_forever()
      """
    let process = try ChildProcess(URL(fileURLWithPath: "/usr/bin/python3"), ["-c", script])
    try await eventually("the server listens") { process.output.contains("\n") }
    return (process, "http://127.0.0.1:\(process.output.prefix { $0 != "\n" })")
  }

  private func load(_ url: String, _ arguments: String...) async throws -> TrialResult {
    let file = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("load"))
    let process = try ChildProcess(
      TestEnvironment.binaries.appendingPathComponent("loadtest"),
      ["read", "--path", "/x", "--queries", url, "--json", file.path, "--warm-up", "0"] + arguments)
    #expect(try await process.wait() == 0, "\(process.output)")
    return try #require(try JSONDecoder().decode(Report.self, from: Data(contentsOf: file)).trials.first)
  }

  @Test("Late responses count as late, and every request is counted")
  func overload() async throws {
    let server = try await server(seconds: 0.05, closes: false)
    // On a busy machine the server takes much longer, and nothing is to be cut.
    let late = try await load(server.url, "--rate", "100", "--duration", "2", "--timeout", "300", "--connections", "1")
    #expect(late.latency?.count == 200 && late.errors == 0)
    #expect(late.answeredPerSecond <= 21 && late.completedPerSecond <= 21, "\(late)")
    #expect(Objective(argument: "p99<500ms")?.isKept(by: late) == false)
    let cut = try await load(server.url, "--rate", "100", "--duration", "2", "--timeout", "1", "--connections", "1")
    #expect(Int(cut.latency?.count ?? 0) + cut.errors == 200, "\(cut)")
    #expect(cut.errors > 100)
  }

  @Test("Requests due while loadtest is suspended are still sent, even after its end")
  func heldUp() async throws {
    let server = try await server(seconds: 0, closes: false)
    let file = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("held-up"))
    let process = try ChildProcess(
      TestEnvironment.binaries.appendingPathComponent("loadtest"),
      [
        "read", "--path", "/x", "--queries", server.url, "--json", file.path, "--warm-up", "0", "--rate", "40",
        "--duration", "4", "--connections", "4",
      ])
    try await eventually("it is under way") { process.output.contains("   0 s") }
    let stopped = try await process.suspend()
    // Waits until all requests are due. Only time makes them due, and the suspended process cannot report it.
    try await Task.sleep(for: .seconds(5))
    ChildProcess.resume(stopped)
    #expect(try await process.wait() == 0, "\(process.output)")
    let trial = try #require(try JSONDecoder().decode(Report.self, from: Data(contentsOf: file)).trials.first)
    #expect(trial.latency?.count == 160 && trial.errors == 0, "\(trial)")
  }

  @Test("A server that closes each connection costs connections but no responses")
  func closing() async throws {
    let server = try await server(seconds: 0, closes: true)
    let result = try await load(server.url, "--rate", "40", "--duration", "1", "--connections", "4")
    #expect(result.latency?.count == 40 && result.errors == 0, "\(result)")
  }

  @Test("Errors appear with their names and counts on the terminal and in the report, also in a search")
  func named() async throws {
    let server = try await server(
      seconds: 0, closes: false, status: 422, body: #"{"type":"urn:counterflow:problem:invalid-path"}"#)
    let file = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("named"))
    func run(_ arguments: [String]) async throws -> (Report, String) {
      let process = try ChildProcess(
        TestEnvironment.binaries.appendingPathComponent("loadtest"),
        ["read", "--path", "/x", "--json", file.path, "--warm-up", "0", "--duration", "1", "--timeout", "1"] + arguments
      )
      #expect(try await process.wait() == 1, "\(process.output)")
      return (try JSONDecoder().decode(Report.self, from: Data(contentsOf: file)), process.output)
    }
    let (report, output) = try await run(["--rate", "20", "--queries", server.url])
    #expect(
      report.trials.first?.reasons == ["HTTP 422 invalid-path": 20]
        && output.contains("20 times: HTTP 422 invalid-path"))
    let (searched, said) = try await run(["--rate", "2", "--queries", server.url, "--find-max", "p99<5s"])
    #expect(searched.searches.first?.attempts.first?.reasons == ["HTTP 422 invalid-path": 2])
    #expect(searched.searches.first?.figure == "p99" && said.contains("2 times: HTTP 422 invalid-path"))
    server.process.signal(SIGKILL)
    try await server.process.wait()
    let (refused, lost) = try await run(["--rate", "20", "--queries", server.url])
    #expect(refused.trials.first?.errors == 20 && lost.contains("Connection refused"), "\(lost)")
  }

  @Test("loadtest over TLS trusts only a certificate that matches its authority and host", .freshDatabase())
  func tls() async throws {
    let system = System()
    try await system.migrate()
    let authority = try await TestAuthority()
    let other = try await TestAuthority(address: "127.0.0.2")
    func load(_ server: RunningService, _ settings: [String: String]) async throws -> (Int32, String) {
      let file = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("tls"))
      let process = try system.run(
        "loadtest",
        [
          "read", "--path", "/v1/orders?limit=1", "--queries", server.http.base.replacing("http:", with: "https:"),
          "--json", file.path, "--rate", "50", "--duration", "1", "--warm-up", "0", "--connections", "4", "--timeout",
          "5",
        ], settings: settings)
      let status = try await process.wait()
      guard status == 0 else { return (status, process.output) }
      let trial = try #require(try JSONDecoder().decode(Report.self, from: Data(contentsOf: file)).trials.first)
      #expect(trial.latency?.count == 50 && trial.errors == 0, "\(trial)")
      return (status, process.output)
    }
    let queries = try await system.start(.queryService, settings: authority.serverSettings)
    try await eventually("it answers") { try await load(queries, authority.clientSettings).0 == 0 }
    let unknown = try await load(queries, [:])
    #expect(unknown.0 == 1 && unknown.1.contains("its certificate is not trusted; set TLS_CA_FILE"), "\(unknown.1)")
    let pretender = try await system.start(.queryService, settings: other.serverSettings)
    let wrong = try await load(pretender, other.clientSettings)
    #expect(wrong.0 == 1 && wrong.1.contains("its certificate is not for the host of the URL"), "\(wrong.1)")
  }

  @Test("Invalid options are rejected with what is allowed")
  func options() async throws {
    let wrong: [([String], String)] = [
      ([], "give a profile, or --compare"), (["write", "--compare"], "give a profile, or --compare"),
      (["write", "--rate", "0"], "--rate takes"), (["write", "--rate", "1..x"], "--rate takes"),
      (["read", "--closed", "--find-max", "p99<5ms"], "--find-max needs a rate"),
      (["mixed", "--closed"], "--closed works with"), (["read", "--reads", "orders=1"], "kinds are order"),
      (["write", "--commands", "ftp://x"], "--commands takes URLs"), (["write", "--path", "/x"], "--path works with"),
      (["read", "--queries", ""], "--queries takes URLs"),
      (["read", "--queries", "http://a:99999"], "--queries takes URLs"),
      (["read", "--json", "/nowhere/x.json"], "/nowhere/x.json cannot be written"),
      (["read", "--json", "-", "--report", "-"], "only one of"),
    ]
    for (arguments, message) in wrong {
      let process = try ChildProcess(TestEnvironment.binaries.appendingPathComponent("loadtest"), arguments)
      #expect(try await process.wait() == 64, "\(arguments)")
      #expect(process.output.contains(message), "\(arguments): \(process.output)")
    }
    let process = try ChildProcess(
      TestEnvironment.binaries.appendingPathComponent("loadtest"), ["write", "--commands", "http://127.0.0.1:9"])
    #expect(try await process.wait() == 1)
    #expect(process.output.contains("127.0.0.1:9/v1/products does not answer"), "\(process.output)")
  }
}
