import Foundation
import HTTPKit
import JSON
import Observability
import ServiceKit
import TestSupport
import Testing

@Suite("Metrics of the processes", .tags(.integration, .system), .needsServers, .whenThereIsRoom)
struct ProcessMetricsTests {
  @Test(
    "Every process exports only documented metrics, which promtool accepts and Prometheus stores",
    .freshVirtualHost, .freshStores)
  func scrape() async throws {
    let system = System()
    try await system.migrate()
    async let relay = system.startReady(.relay)
    async let projector = system.startReady(.projector)
    async let reactor = system.startReady(.reactor)
    async let queries = system.startReady(.queryService, settings: ["QUERY_CACHE_MB": "1"])
    let commands = try await system.startReady(.commandService)
    let all = try await [commands, relay, projector, queries, reactor]
    _ = try await commands.http.post("/v1/products", ["sku": "A", "name": "A", "unitPrice": 5, "tracksStock": false])
    let placed = try await commands.http.post(
      "/v1/orders", ["orderId": "o", "lines": [["sku": "A", "quantity": 1]]])
    _ = try await commands.http.post("/v1/orders", ["orderId": "p", "lines": [["sku": "B", "quantity": 1]]])
    let token = try #require(placed.headers["consistency-token"])
    let seen = try await all[3].http.send(
      "GET", "/v1/orders/o", headers: ["Consistency-Token": token, "Prefer": "wait=30"])
    #expect(seen.status == 200)
    _ = try await all[3].http.get("/v1/orders/missing")
    _ = try await all[3].http.get("/nowhere")
    // These gauges are updated each second.
    try await eventually("the relay tells its lag") {
      try await all[1].http.get("/metrics").text.contains("counterflow_relay_lag_positions 0")
    }
    try await eventually("the projector tells the lag of each assignment") {
      let text = try await all[2].http.get("/metrics").text
      return text.contains(
        #"counterflow_projection_partition_lag_positions{generation="1",partition="15",projection="sales"}"#)
    }
    let documented = try MetricsTests.documented()
    for service in all {
      let answer = try await service.http.get("/metrics")
      #expect(answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
      let shown = Families(answer.text)
      for (name, family) in shown.families {
        let row = try #require(documented[name], "\(name) is not in docs/operations.md")
        #expect(family.kind == row.kind && family.help == row.help && family.labels.isSubset(of: row.labels), "\(name)")
      }
      #expect((shown.values["process_resident_memory_bytes"] ?? 0) > 1_000_000)
    }
    let commanded = Families(try await commands.http.get("/metrics").text).values
    #expect(commanded[#"counterflow_commands_total{command="PlaceOrder",outcome="accepted"}"#] == 1)
    #expect(commanded[#"counterflow_commands_total{command="PlaceOrder",outcome="rejected"}"#] == 1)
    #expect(commanded[#"counterflow_http_requests_total{method="POST",route="/v1/orders",status="201"}"#] == 1)
    #expect(commanded["counterflow_command_queue"] == 0)
    var queried: [String: Double] = [:]
    try await eventually("it shows how far the read models are behind") {
      queried = Families(try await all[3].http.get("/metrics").text).values
      return queried.contains { $0.key.hasPrefix(#"counterflow_read_model_lag_seconds{projection="orders""#) }
    }
    #expect(
      queried[#"counterflow_http_requests_total{method="GET",route="/v1/orders/{id}",status="404"}"#] == 1,
      "\(queried)")
    #expect(queried[#"counterflow_http_requests_total{method="any",route="none",status="404"}"#] == 1)

    for service in all {
      let check = try ChildProcess(
        URL(fileURLWithPath: "/bin/bash"),
        [
          "-c",
          "exec promtool check metrics < <(python3 -c 'import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1]).read().decode())' \(service.http.base)/metrics)",
        ])
      #expect(try await check.wait() == 0, "\(check.output)")
    }
    try await stored(all)
  }

  /// Starts a real Prometheus with the committed configuration, except for the addresses of the processes.
  private func stored(_ services: [RunningService]) async throws {
    let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("prometheus"))
    let committed = TestEnvironment.root.appendingPathComponent("deploy/observability")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try FileManager.default.copyItem(
      at: committed.appendingPathComponent("alerts.yml"), to: folder.appendingPathComponent("alerts.yml"))
    var configuration = try String(contentsOf: committed.appendingPathComponent("prometheus.yml"), encoding: .utf8)
    configuration.replace("scrape_interval: 5s", with: "scrape_interval: 500ms")
    configuration.replace("scrape_timeout: 4s", with: "scrape_timeout: 500ms")
    for (name, service) in zip(["command-service", "relay", "projector", "query-service", "reactor"], services) {
      let address = service.http.base.dropFirst("http://".count)
      configuration.replace(
        "dns_sd_configs:\n      - { names: [\(name)], type: A, port: 8080, refresh_interval: 5s }",
        with: "static_configs:\n      - { targets: ['\(address)'] }")
    }
    #expect(!configuration.contains("dns_sd_configs:\n"))
    let file = folder.appendingPathComponent("prometheus.yml")
    try Data(configuration.utf8).write(to: file)
    let prometheus = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/prometheus"),
      [
        "--config.file=\(file.path)", "--storage.tsdb.path=\(folder.path)/data", "--web.listen-address=127.0.0.1:0",
      ])
    var port: String?
    try await eventually("Prometheus listens") {
      guard prometheus.isRunning else { throw NeverHappened(description: prometheus.output) }
      port = prometheus.output.firstMatch(of: /Listening on"? .*?address=127\.0\.0\.1:(\d+)/).map { String($0.1) }
      return port != nil
    }
    let http = HTTPProbe("http://127.0.0.1:\(port!)")
    func value(_ query: String) async throws -> String? {
      let escaped = query.addingPercentEncoding(withAllowedCharacters: .alphanumerics)!
      return try await http.get("/api/v1/query?query=\(escaped)").json["data"]?["result"]?[0]?["value"]?[1]?.string
    }
    try await eventually("all five are scraped") { try await value("sum(up)") == "5" }
    // A process whose last scrape was too late has no current value.
    for query in [
      #"counterflow_commands_total{command="PlaceOrder",outcome="accepted"}"#, "sum(counterflow_relay_active)",
    ] {
      try await eventually("\(query) is stored") { try await value(query) == "1" }
    }
    prometheus.signal(SIGTERM)
    try await prometheus.wait()
  }

  @Test("Alert rules pass their tests, and every metric in the rules and the dashboard exists")
  func rules() async throws {
    let folder = TestEnvironment.root.appendingPathComponent("deploy/observability")
    for arguments in [["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]] {
      let check = try ChildProcess(
        URL(fileURLWithPath: "/bin/bash"),
        ["-c", "cd \(folder.path) && exec promtool \(arguments.joined(separator: " "))"])
      #expect(try await check.wait() == 0, "\(check.output)")
    }
    let known = Set((MetricCatalogue.all + ProcessStatistics.descriptions).map(\.name))
    var tested: Set<String> = []
    for file in ["alerts.yml", "alerts.test.yml", "grafana/dashboards/counterflow.json"] {
      let text = try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
      for match in text.matches(of: /(?:counterflow|process)_[a-z_]+/) {
        let name = String(match.0)
        let isPart = ["_bucket", "_sum", "_count"].contains {
          name.hasSuffix($0) && known.contains(String(name.dropLast($0.count)))
        }
        #expect(known.contains(name) || isPart, "\(file) has \(name)")
      }
      if file == "alerts.test.yml" { tested = Set(text.matches(of: /alertname: (\w+)/).map { String($0.1) }) }
    }
    let rules = try String(contentsOf: folder.appendingPathComponent("alerts.yml"), encoding: .utf8)
    let alerts = Set(rules.matches(of: /alert: (\w+)/).map { String($0.1) })
    #expect(alerts == tested && !alerts.isEmpty)
    let document = try String(
      contentsOf: TestEnvironment.root.appendingPathComponent("docs/operations.md"), encoding: .utf8)
    for alert in alerts { #expect(document.contains("`\(alert)`"), "\(alert) is not in docs/operations.md") }
  }

  @Test("/metrics rejects callers without METRICS_TOKEN", .freshVirtualHost, .freshStores)
  func token() async throws {
    let system = System(settings: ["METRICS_TOKEN": "a-secret", "LOG_FORMAT": "json"])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    for headers in [
      [:], ["Authorization": "Bearer a-secreu"], ["Authorization": "Bearer "], ["Authorization": "a-secret"],
    ] {
      let answer = try await commands.http.send("GET", "/metrics", headers: headers)
      #expect(answer.status == 401 && answer.headers["www-authenticate"] != nil)
    }
    let answer = try await commands.http.send("GET", "/metrics", headers: ["Authorization": "Bearer a-secret"])
    #expect(answer.status == 200)
    for line in commands.process.output.split(separator: "\n") {
      #expect((try? JSON(parsing: Array(line.utf8)))?["level"] != nil, "\(line)")
    }
  }
}
