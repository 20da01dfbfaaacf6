import AccessKit
import CommerceStore
import Crypto
import Foundation
import JSON
import JWTKit
import Logging
import Postgres
import TestSupport
import Testing

@testable import HTTPKit
@testable import SettingsKit

@Suite("Authentication", .tags(.system), .needsServers)
struct AuthenticationTests {
  private static let secret = String(repeating: "k3y-", count: 10)
  private static let lantern: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]

  private func token(_ subject: String, _ scopes: Scope...) async throws -> [String: String] {
    let token = try await developmentToken(
      Settings(["AUTH_KEY": Self.secret]), subject: subject, scopes: Set(scopes), lifetime: .seconds(600))
    return ["Authorization": "Bearer \(token)"]
  }

  @Test(
    "Routes and overrides need scopes, keys belong to their caller, and events record the actor", .freshStores)
  func scopes() async throws {
    let system = System(settings: ["AUTH": "jwt", "AUTH_KEY": Self.secret])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let queries = try await system.startReady(.queryService)
    let (ada, bob) = (try await token("ada", .commandsWrite), try await token("bob", .commandsWrite, .ordersOverride))
    let reader = try await token("reader", .queriesRead)
    let body = Self.lantern.encoded

    let without = try await commands.http.send("POST", "/v1/products", body: body)
    #expect(
      without.status == 401 && without.problem == "unauthorized" && without.headers["www-authenticate"] == "Bearer")
    let forged = try await commands.http.send(
      "POST", "/v1/products", body: body, headers: ["Authorization": "Bearer e30.e30.e30"])
    #expect(forged.status == 401 && forged.headers["www-authenticate"]?.contains("invalid_token") == true)
    #expect(
      try await commands.http.send("POST", "/v1/products", body: body, headers: ["Authorization": "Basic YTpi"]).status
        == 401)
    let refused = try await commands.http.send("POST", "/v1/products", body: body, headers: reader)
    #expect(refused.status == 403 && refused.problem == "insufficient-scope")
    #expect(refused.headers["www-authenticate"]?.contains("commands:write") == true)
    #expect(try await queries.http.send("GET", "/v1/products", headers: ada).status == 403)
    #expect(try await queries.http.get("/v1/products").status == 401)
    #expect(try await queries.http.send("GET", "/v1/products", headers: reader).status == 200)
    for path in ["/healthz", "/readyz", "/openapi.yaml"] { #expect(try await commands.http.get(path).status == 200) }

    #expect(try await commands.http.send("POST", "/v1/products", body: body, headers: ada).status == 201)
    let cheap: JSON = ["orderId": "o-1", "lines": [["sku": "LANTERN", "quantity": 1, "unitPrice": 1]]]
    let early: JSON = [
      "orderId": "o-2", "placedAt": "2001-01-01T00:00:00Z", "lines": [["sku": "LANTERN", "quantity": 1]],
    ]
    for order in [cheap, early] {
      let refused = try await commands.http.send("POST", "/v1/orders", body: order.encoded, headers: ada)
      #expect(refused.status == 403 && refused.headers["www-authenticate"]?.contains("orders:override") == true)
      #expect(try await commands.http.send("POST", "/v1/orders", body: order.encoded, headers: bob).status == 201)
    }

    // The same key of another caller is another key.
    let (first, second) = (ada.merging(["Idempotency-Key": "k"]) { $1 }, bob.merging(["Idempotency-Key": "k"]) { $1 })
    let order: JSON = ["orderId": "o-3", "lines": [["sku": "LANTERN", "quantity": 1]]]
    let other: JSON = ["orderId": "o-4", "lines": [["sku": "LANTERN", "quantity": 1]]]
    #expect(try await commands.http.send("POST", "/v1/orders", body: order.encoded, headers: first).status == 201)
    #expect(try await commands.http.send("POST", "/v1/orders", body: other.encoded, headers: second).status == 201)
    #expect(try await commands.http.send("POST", "/v1/orders", body: other.encoded, headers: first).status == 422)

    let connection = try await FreshDatabase.current.connect()
    let actors = try await connection.query(
      "select metadata::json ->> 'actor' from event_store.events order by position"
    ).decode(String.self)
    #expect(actors == ["ada", "bob", "bob", "ada", "bob"])
    #expect(!commands.process.output.contains(Self.secret) && !commands.process.output.contains("eyJ"))
  }

  @Test("A credit without an order and an erasure of personal data need additional scopes", .freshDatabase())
  func irrevocable() async throws {
    let system = System(settings: ["AUTH": "jwt", "AUTH_KEY": Self.secret])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let (ada, bob) = (try await token("ada", .commandsWrite), try await token("bob", .commandsWrite, .ordersOverride))
    func send(_ method: String, _ path: String, _ body: JSON?, _ headers: [String: String]) async throws -> HTTPAnswer {
      try await commands.http.send(method, path, body: body?.encoded, headers: headers)
    }
    #expect(try await send("POST", "/v1/products", Self.lantern, ada).status == 201)
    let credit: JSON = ["returnId": "r", "lines": [["sku": "LANTERN", "quantity": 1, "unitPrice": 1_000_000_000]]]
    let refused = try await send("POST", "/v1/returns", credit, ada)
    #expect(refused.status == 403 && refused.headers["www-authenticate"]?.contains("orders:override") == true)
    #expect(try await send("POST", "/v1/returns", credit, bob).status == 201)
    // A return at an order's own prices needs no override.
    let ofOrder: JSON = ["orderId": "none", "lines": [["sku": "LANTERN", "quantity": 1]]]
    #expect(try await send("POST", "/v1/returns", ofOrder, ada).problem == "order-unknown")

    #expect(try await send("POST", "/v1/customers", ["customerId": "c", "name": "Somebody"], ada).status == 201)
    let personal = "/v1/customers/c/personal-data"
    for headers in [ada, bob] {
      let refused = try await send("DELETE", personal, nil, headers)
      #expect(refused.status == 403 && refused.headers["www-authenticate"]?.contains("personal-data:erase") == true)
    }
    let made = try system.run(
      "counterflow", ["token", "--subject", "eve", "--scope", "commands:write", "personal-data:erase"])
    #expect(try await made.wait() == 0)
    let eve = ["Authorization": "Bearer \(try #require(made.output.split(separator: "\n").first))"]
    #expect(try await send("DELETE", personal, nil, eve).json["changed"] == true)
    let alone = try await token("mallory", .personalDataErase)
    #expect(try await send("DELETE", personal, nil, alone).status == 403)
  }

  @Test(
    "Requests above the limit get 429, per subject and per address behind a proxy", .freshStores)
  func rates() async throws {
    let system = System(
      settings: [
        "AUTH": "jwt", "AUTH_KEY": Self.secret, "RATE_LIMIT_PER_SUBJECT": "1", "RATE_LIMIT_PER_ADDRESS": "1",
        "TRUSTED_PROXIES": "1",
      ])
    try await system.migrate()
    let queries = try await system.startReady(.queryService)
    let (ada, bob) = (try await token("ada", .queriesRead), try await token("bob", .queriesRead))
    func get(_ headers: [String: String], from address: String) async throws -> HTTPAnswer {
      let forwarded = ["X-Forwarded-For": "spoofed, \(address)"]
      return try await queries.http.send("GET", "/v1/products", headers: headers.merging(forwarded) { $1 })
    }
    var answers: [HTTPAnswer] = []
    try await withThrowingTaskGroup(of: HTTPAnswer.self) { group in
      for index in 0..<20 { group.addTask { try await get(ada, from: "10.0.0.\(index)") } }
      for try await answer in group { answers.append(answer) }
    }
    let refused = try #require(answers.first { $0.status == 429 })
    #expect(refused.problem == "too-many-requests" && Int(refused.headers["retry-after"] ?? "") == 1)
    #expect(answers.filter { $0.status == 200 }.count >= 2)
    #expect(try await get(bob, from: "10.0.1.1").status == 200)
    // The limit also applies to callers that guess tokens.
    var guesses: [Int] = []
    try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<40 { group.addTask { try await get([:], from: "10.0.2.2").status } }
      for try await status in group { guesses.append(status) }
    }
    #expect(guesses.filter { $0 == 401 }.count >= 2 && guesses.contains(429))
    #expect(try await get(bob, from: "10.0.3.3").status != 401)
  }

  @Test("counterflow token makes a valid token, and needs the secret", .freshStores)
  func command() async throws {
    let system = System(settings: ["AUTH": "jwt", "AUTH_KEY": Self.secret])
    try await system.migrate()
    let made = try system.run("counterflow", ["token", "--subject", "eve", "--scope", "queries:read"])
    #expect(try await made.wait() == 0)
    let token = try #require(made.output.split(separator: "\n").first)
    let queries = try await system.startReady(.queryService)
    #expect(
      try await queries.http.send("GET", "/v1/orders", headers: ["Authorization": "bearer   \(token)"]).status == 200)
    let refused = try System(settings: ["AUTH_KEY": "short"]).run("counterflow", ["token"])
    #expect(try await refused.wait() == 78)
    #expect(refused.output.hasPrefix("counterflow: AUTH_KEY") && !refused.output.contains("short;"))
    let open = try System(settings: ["HTTP_HOST": "0.0.0.0", "HTTP_PORT": "0"]).run("query-service")
    #expect(try await open.wait() == 78)
    #expect(open.output.contains("AUTH is 'off'"))
  }
}
