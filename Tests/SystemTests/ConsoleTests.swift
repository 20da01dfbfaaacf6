import AccessKit
import CommerceStore
import Foundation
import HTTPKit
import JSON
import Postgres
import SettingsKit
import TestSupport
import Testing

@testable import ConsoleKit

@Suite("Rates of the console")
struct ConsoleFiguresTests {
  @Test("The history keeps two minutes of rates, one value per second, at any interval of samples")
  func history() {
    var history = RateHistory()
    let start = ContinuousClock.now
    history.add(writes: 2.04, reads: nil, over: .seconds(5), at: start)
    #expect(history.writes.suffix(6) == [nil, 2, 2, 2, 2, 2] && history.reads.allSatisfy { $0 == nil })
    // The delays of samples do not add up.
    for look in 1...10 { history.add(writes: 3, reads: 1, over: .seconds(1), at: start + .seconds(1.04) * look) }
    #expect(
      history.writes.suffix(12) == [2, 2] + Array(repeating: 3, count: 10)
        && history.reads.suffix(11).first == .some(nil))
    history.add(writes: 4, reads: 1, over: .seconds(600), at: start + .seconds(700))
    #expect(history.writes == Array(repeating: 4, count: RateHistory.seconds))
  }
}

@Suite("Console", .tags(.system), .needsServers)
struct ConsoleTests {
  @Test("The console shows processes with HTTPS only if it trusts their certificate", .freshDatabase())
  func tls() async throws {
    let system = System()
    try await system.migrate()
    let authority = try await TestAuthority()
    let running = try await system.start(.queryService, settings: authority.serverSettings)
    let place = running.http.base.replacing("http://", with: "https://")
    func look(_ settings: [String: String]) async throws -> ProcessWatch.Seen? {
      let watch = ProcessWatch([place], token: nil, client: try ProcessClient(Settings(settings)))
      return await watch.look().now[place]
    }
    try await eventually("its metrics are seen") {
      try await look(authority.clientSettings)?.service == "query-service"
    }
    let stranger = try #require(try await look([:]))
    #expect(
      stranger.metrics == nil
        && stranger.why == "its certificate is not trusted; set TLS_CA_FILE to the authority's certificate")
  }

  @Test(
    "The console works in a browser: live data, search, keyboard, phone, dark mode, retry",
    .freshStores, .freshVirtualHost, arguments: [false, true])
  func browser(isSecured: Bool) async throws {
    let secret = String(repeating: "k3y-", count: 10)
    let system = System(settings: isSecured ? ["AUTH": "jwt", "AUTH_KEY": secret, "METRICS_TOKEN": "a-token"] : [:])
    try await system.migrate()
    let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("console"))
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let commands = try await system.startReady(.commandService)
    let queries = try await system.startReady(.queryService, settings: ["CONSOLE_PROCESSES": folder.path])
    let owner = try await FreshDatabase.current.connect()
    if !isSecured { try await retryReaction(queries.http, owner) }
    let services = [
      commands, try await system.startReady(.relay), try await system.startReady(.projector), queries,
      try await system.startReady(.reactor),
    ]
    for (index, service) in services.enumerated() {
      try Data("\(service.http.base)\n".utf8).write(to: folder.appendingPathComponent("\(index).url"))
    }
    var arguments = [queries.http.base, commands.http.base, folder.path]
    if isSecured {
      let token = try await developmentToken(
        Settings(["AUTH_KEY": secret]), subject: "operator", scopes: Set(Scope.commerce), lifetime: .seconds(3600))
      arguments.append(token)
      for path in ["/console", "/console/app.js", "/console/style.css"] {
        let page = try await queries.http.get(path)
        #expect(page.status == 200 && page.headers["content-security-policy"]?.hasPrefix("default-src 'none'") == true)
      }
      #expect(try await queries.http.get("/console/stream").status == 401)
      let reader = try await developmentToken(
        Settings(["AUTH_KEY": secret]), subject: "reader", scopes: [.queriesRead], lifetime: .seconds(3600))
      let bearer = ["Authorization": "Bearer \(reader)"]
      #expect(try await queries.http.send("GET", "/console/stream", headers: bearer).status == 403)
      let retry = try await queries.http.send("POST", "/console/parked/retry", body: Array("{}".utf8), headers: bearer)
      #expect(retry.status == 403)
    } else {
      // A request that a page of another site could send without preflight.
      let forged = try await queries.http.send(
        "POST", "/console/parked/retry", body: Array("{}".utf8), contentType: "text/plain")
      #expect(forged.status == 415)
      let wrong = try await queries.http.post("/console/parked/retry", ["projection": "orders"])
      #expect(wrong.status == 400)
      let missing = try await queries.http.post("/console/parked/retry", ["projection": "orders", "stream": "order-x"])
      #expect(missing.status == 404)
    }
    let script = TestEnvironment.root.appendingPathComponent("Tests/SystemTests/console.py").path
    let browser = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/python3"), [script] + arguments,
      environment: ["HOME": folder.path, "PYTHONDONTWRITEBYTECODE": "1"],
      takesInput: true)
    func goesOn() throws {
      guard browser.isRunning else { throw NeverHappened(description: "the browser ended: \(browser.output)") }
    }
    try await eventually("the browser is through with what is sound", within: .seconds(900)) {
      try goesOn()
      return browser.output.contains("ready to park")
    }
    let reader = try await FreshDatabase.readStore.connect()
    try await reader.execute("alter table read_models.orders_g1 add constraint refuse check (key <> 'refused')")
    var writer = commands.http
    if isSecured { writer.headers = ["Authorization": "Bearer \(arguments[3])"] }
    #expect(
      try await writer.post("/v1/orders", ["orderId": "refused", "lines": [["sku": "LAMP", "quantity": 1]]]).status
        == 201)
    browser.say("go")
    try await eventually("it has seen the parked stream", within: .seconds(600)) {
      try goesOn()
      return browser.output.contains("\nparked")
    }
    try await reader.execute("alter table read_models.orders_g1 drop constraint refuse")
    browser.say("go")
    try await eventually("it has tried again", within: .seconds(600)) {
      try goesOn()
      return browser.output.contains("retried")
    }
    queries.process.signal(SIGKILL)
    browser.say("go")
    #expect(try await browser.wait(within: .seconds(600)) == 0, "\(browser.output)")
    for picture in ["console", "console-phone", "console-dark", "console-parked"] {
      #expect(FileManager.default.fileExists(atPath: folder.appendingPathComponent("\(picture).png").path))
    }
  }

  /// Inserts a parked stream of a reaction, which no command can cause, and retries it with the role of query-service.
  private func retryReaction(_ queries: HTTPProbe, _ owner: PostgresConnection) async throws {
    try await owner.execute(
      """
      insert into projections.parked (projection, generation, stream, partition, version, position, event_id, event_type, error)
      values ('reaction/cancel-unpaid', 1, 'order-1', 0, 1, 1, gen_random_uuid(), 'OrderPlaced', 'for this test')
      """)
    let body: JSON = ["projection": "reaction/cancel-unpaid", "stream": "order-1"]
    #expect(try await queries.post("/console/parked/retry", body).status == 202)
    #expect(try await owner.query("select request from projections.parked").value(String.self) == "retry")
    try await owner.execute("delete from projections.parked")
  }

  @Test(
    "The console of an application in one process shows its reactions, its accounts and what led to an event",
    .freshDatabase())
  func application() async throws {
    let service = try await RunningService(
      try ChildProcess(
        TestEnvironment.binaries.appendingPathComponent("bank"), ["dev"],
        environment: ["DATABASE_URL": try #require(FreshDatabase.current?.url), "HTTP_PORT": "0"]))
    try await service.becomesReady()
    #expect(service.process.output.components(separatedBy: "authentication is off").count == 2)
    let script = TestEnvironment.root.appendingPathComponent("Tests/SystemTests/bank_console.py").path
    let browser = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/python3"), [script, service.http.base],
      environment: [
        "HOME": service.process.log.deletingLastPathComponent().path, "PYTHONDONTWRITEBYTECODE": "1",
      ])
    #expect(try await browser.wait(within: .seconds(600)) == 0, "\(browser.output)")
  }
}
