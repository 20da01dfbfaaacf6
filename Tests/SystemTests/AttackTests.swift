import Foundation
import JSON
import Postgres
import ServiceKit
import TestSupport
import Testing

@Suite("Attacks", .tags(.system), .needsServers)
struct AttackTests {
  @Test("nothing gets in, nothing leaks, nothing falls over", .freshDatabase(), .freshVirtualHost)
  func attacks() async throws {
    let secret = String(repeating: "k3y-", count: 10)
    let token = try await developmentToken(
      Settings(["AUTH_KEY": secret]), subject: "mallory", scopes: Set(Scope.allCases), lifetime: .seconds(3600))
    let system = System(
      settings: [
        "AUTH": "jwt", "AUTH_KEY": secret, "HTTP_IDLE_TIMEOUT": "30", "HTTP_REQUEST_TIMEOUT": "3",
        "HTTP_ANSWER_TIMEOUT": "5",
      ])
    try await system.migrate()
    let commands = try await system.startReady(.commandService, settings: ["HTTP_IDLE_TIMEOUT": "3"])
    let services = [try await system.startReady(.relay), try await system.startReady(.projector)]
    let queries = try await system.startReady(.queryService)
    var (writer, reader) = (commands.http, queries.http)
    writer.headers = ["Authorization": "Bearer \(token)"]
    reader.headers = writer.headers
    let product: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]
    #expect(try await writer.post("/v1/products", product).status == 201)
    let order: JSON = ["orderId": "o-1", "lines": [["sku": "LANTERN", "quantity": 1]]]
    let placed = try await writer.post("/v1/orders", order)
    #expect(placed.status == 201)
    let seen = try await reader.send(
      "GET", "/v1/orders/o-1",
      headers: ["Consistency-Token": placed.headers["consistency-token"]!, "Prefer": "wait=30"])
    #expect(seen.status == 200)

    let attack = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/python3"),
      ["Tests/SystemTests/attack.py"].map { TestEnvironment.root.appendingPathComponent($0).path } + [
        commands.http.base, queries.http.base,
        TestEnvironment.root.appendingPathComponent("Sources/CommerceAPI/openapi.yaml").path, token,
      ], environment: [:])
    #expect(try await attack.wait(within: .seconds(400)) == 0, "\(attack.output)")
    #expect(attack.output.contains("idle connections"))
    for service in [commands, queries] {
      #expect(service.process.isRunning)
      #expect(!service.process.output.contains(secret) && !service.process.output.contains("eyJ"))
    }
    // Nothing was stored.
    let count = try await FreshDatabase.current.connect().query("select count(*) from event_store.events").value(
      Int.self)
    #expect(count == 2)
    withExtendedLifetime(services) {}
  }

  @Test("over TLS, with a certificate of one's own; half of the settings is refused", .freshDatabase())
  func tls() async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    func path(_ name: String) -> String { folder.appendingPathComponent(name).path }
    let made = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/openssl"),
      [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj",
        "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path("key"), "-out", path("certificate"),
      ], environment: [:])
    #expect(try await made.wait() == 0)
    let system = System()
    try await system.migrate()
    let settings = ["TLS_CERTIFICATE_FILE": path("certificate"), "TLS_KEY_FILE": path("key")]
    let service = try await system.start(.queryService, settings: settings)
    let url = service.http.base.replacing("http://", with: "https://") + "/healthz"
    let curl = URL(fileURLWithPath: "/usr/bin/curl")
    let good = try ChildProcess(curl, ["-sS", "-m", "10", "--cacert", path("certificate"), url], environment: [:])
    #expect(try await good.wait() == 0)
    #expect(good.output.contains("alive"))
    let old = try ChildProcess(
      curl, ["-sS", "-m", "10", "--tls-max", "1.1", "--cacert", path("certificate"), url], environment: [:])
    #expect(try await old.wait() != 0)
    for wrong in [["TLS_KEY_FILE": path("key")], ["TLS_CERTIFICATE_FILE": path("certificate"), "TLS_KEY": "x"]] {
      let refused = try system.run("query-service", settings: wrong.merging(["HTTP_PORT": "0"]) { $1 })
      #expect(try await refused.wait() == 78)
      #expect(refused.output.contains("TLS_"))
    }
  }
}
