import AccessKit
import CommerceStore
import Foundation
import HTTPKit
import JSON
import Postgres
import SettingsKit
import TestSupport
import Testing

@Suite("Attacks", .tags(.system), .needsServers)
struct AttackTests {
  @Test("Each timeout takes effect independently of the others", .freshStores, .freshVirtualHost)
  func deadlines() async throws {
    let system = System(
      settings: ["HTTP_IDLE_TIMEOUT": "3600", "HTTP_REQUEST_TIMEOUT": "1", "HTTP_ANSWER_TIMEOUT": "2"])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let queries = try await system.startReady(.queryService)
    // No projector runs, so the query waits for the token in vain.
    let product: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]
    let patient = try await system.startReady(
      .commandService, settings: ["HTTP_REQUEST_TIMEOUT": "20", "HTTP_ANSWER_TIMEOUT": "60"])
    let token = try #require(try await patient.http.post("/v1/products", product).headers["consistency-token"])
    let body = "POST /v1/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    let answer =
      "GET /v1/products/LANTERN HTTP/1.1\r\nHost: a\r\nConsistency-Token: \(token)\r\nPrefer: wait=30\r\n\r\n"
    for (service, request) in [(commands, body), (queries, answer)] {
      let script = """
        import socket, sys
        host, port = sys.argv[1].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=25) as connection:
            connection.sendall(sys.argv[2].encode())
            print("got", connection.recv(1000))
        """
      let client = try ChildProcess(
        URL(fileURLWithPath: "/usr/bin/python3"), ["-c", script, service.http.base, request])
      #expect(try await client.wait() == 0, "\(client.output)")
      #expect(client.output == "got b''\n")
    }
  }

  @Test("The query role has only its rights, and errors tell outsiders no details", .freshDatabase(), .freshVirtualHost)
  func reading() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let reader = try await PostgresConnection.connect(
      PostgresConfiguration(url: system.url(of: .queryService), applicationName: "reader"))
    for statement in [
      "create temporary table t (a int)", "select lo_from_bytea(0, '\\x00')",
      "select pg_advisory_lock(7310029201180266610)",
      "select pg_try_advisory_xact_lock_shared(1)", "create table public.t (a int)", "delete from event_store.events",
      "update read_models.orders set version = 0", "update projections.parked set request = null",
    ] {
      await #expect(throws: PostgresError.self, "\(statement)") { try await reader.execute(statement) }
    }
    #expect(try await reader.query("select count(*) from event_store.events").value(Int.self) == 0)
    // The rights revoked from everybody do not affect the other services.
    let product: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]
    #expect(try await commands.http.post("/v1/products", product).status == 201)

    let wrong = system.url(of: .queryService).replacing("only-for-tests@", with: "wrong@")
    let stranger = try await system.start(.queryService, settings: ["READ_DATABASE_URL": wrong])
    let told = try await stranger.http.get("/readyz", until: 503)
    #expect(told.text.contains("the log says more") && !told.text.contains("counterflow_query"), "\(told.text)")
    // The first check of a busy server may report a timeout instead.
    try await eventually("the log says more") {
      _ = try await stranger.http.get("/readyz")
      return stranger.process.output.contains("password authentication failed")
    }

    let queries = try await system.startReady(.queryService)
    let page = try await queries.http.get("/v1/products?limit=1")
    #expect(page.status == 200 && page.json["nextCursor"]?.isNull == true, "\(page.text)")
    let history = try await queries.http.get("/v1/products/LANTERN/history?limit=1")
    #expect(history.status == 200)
    for id in ["a-cursor", "b-cursor"] {
      let customer: JSON = ["customerId": .string(id), "name": "Somebody"]
      #expect(try await commands.http.post("/v1/customers", customer).status == 201)
      #expect(
        try await commands.http.send("PATCH", "/v1/customers/\(id)", body: Array(#"{"country":"FR"}"#.utf8)).status
          == 200)
    }
    let first = try await queries.http.get("/v1/customers/a-cursor/history?limit=1")
    let cursor = try #require(first.json["nextCursor"]?.string)
    #expect(try await queries.http.get("/v1/customers/a-cursor/history?limit=1&cursor=\(cursor)").status == 200)
    for other in ["b-cursor", "missing"] {
      #expect(try await queries.http.get("/v1/customers/\(other)/history?limit=1&cursor=\(cursor)").status == 400)
    }
  }

  @Test("Attacks get no access, leak nothing and stop no service", .freshStores, .freshVirtualHost)
  func attacks() async throws {
    let secret = String(repeating: "k3y-", count: 10)
    let token = try await developmentToken(
      Settings(["AUTH_KEY": secret]), subject: "mallory", scopes: Set(Scope.commerce), lifetime: .seconds(3600))
    let system = System(
      settings: [
        "AUTH": "jwt", "AUTH_KEY": secret, "HTTP_IDLE_TIMEOUT": "30", "HTTP_REQUEST_TIMEOUT": "3",
        "HTTP_ANSWER_TIMEOUT": "5",
      ])
    try await system.migrate()
    let commands = try await system.startReady(.commandService, settings: ["HTTP_IDLE_TIMEOUT": "3"])
    try await system.startReady([.relay, .projector])
    let queries = try await system.startReady(.queryService)
    var (writer, reader) = (commands.http, queries.http)
    writer.headers = ["Authorization": "Bearer \(token)"]
    reader.headers = writer.headers
    let product: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]
    #expect(try await writer.post("/v1/products", product).status == 201)
    let order: JSON = ["orderId": "o-1", "lines": [["sku": "LANTERN", "quantity": 1]]]
    let placed = try await writer.post("/v1/orders", order)
    #expect(placed.status == 201)
    #expect(try await reader.get("/v1/orders/o-1", until: 200).status == 200)
    let seen = try await reader.send(
      "GET", "/v1/orders/o-1",
      headers: ["Consistency-Token": placed.headers["consistency-token"]!, "Prefer": "wait=30"])
    #expect(seen.status == 200)

    let attack = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/python3"),
      ["Tests/SystemTests/attack.py"].map { TestEnvironment.root.appendingPathComponent($0).path } + [
        commands.http.base, queries.http.base,
        TestEnvironment.root.appendingPathComponent("Sources/Commerce/API/openapi.yaml").path, token,
      ], environment: [:])
    #expect(try await attack.wait(within: .seconds(400)) == 0, "\(attack.output)")
    #expect(attack.output.contains("idle connections"))
    for service in [commands, queries] {
      #expect(service.process.isRunning)
      #expect(!service.process.output.contains(secret) && !service.process.output.contains("eyJ"))
    }
    // The attacks stored nothing.
    let count = try await FreshDatabase.current.connect().query("select count(*) from event_store.events").value(
      Int.self)
    #expect(count == 2)
  }

  @Test("A service serves TLS with its certificate, and incomplete TLS settings are rejected", .freshStores)
  func tls() async throws {
    let authority = try await TestAuthority()
    let (settings, certificate) = (authority.serverSettings, authority.clientSettings["TLS_CA_FILE"]!)
    let system = System()
    try await system.migrate()
    let service = try await system.start(.queryService, settings: settings)
    let url = service.http.base.replacing("http://", with: "https://") + "/healthz"
    let curl = URL(fileURLWithPath: "/usr/bin/curl")
    let good = try ChildProcess(curl, ["-sS", "-m", "10", "--cacert", certificate, url], environment: [:])
    #expect(try await good.wait() == 0)
    #expect(good.output.contains("alive"))
    // A response that closes the connection arrives completely, even if the client still sends.
    let large = String(repeating: " ", count: 5_000_000)
    let file = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("large"))
    try Data(large.utf8).write(to: file)
    let cut = try ChildProcess(
      curl,
      ["-sS", "-m", "30", "--cacert", certificate, "-H", "Expect:", "--data-binary", "@" + file.path, url],
      environment: [:])
    #expect(try await cut.wait() == 0, "\(cut.output)")
    #expect(cut.output.contains("body-too-large"), "\(cut.output)")
    let old = try ChildProcess(
      curl, ["-sS", "-m", "10", "--tls-max", "1.1", "--cacert", certificate, url], environment: [:])
    #expect(try await old.wait() != 0)
    for wrong in [settings.filter { $0.key == "TLS_KEY_FILE" }, ["TLS_CERTIFICATE_FILE": certificate, "TLS_KEY": "x"]] {
      let refused = try system.run("query-service", settings: wrong.merging(["HTTP_PORT": "0"]) { $1 })
      #expect(try await refused.wait() == 78)
      #expect(refused.output.contains("TLS_"))
    }
  }
}
