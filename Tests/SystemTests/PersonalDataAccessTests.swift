import AccessKit
import CommerceStore
import Foundation
import JSON
import TestSupport
import Testing

@testable import HTTPKit
@testable import SettingsKit

@Suite("Access to personal data", .tags(.system), .needsServers)
struct PersonalDataAccessTests {
  private static let secret = String(repeating: "k3y-", count: 10)

  private func token(_ subject: String, _ scopes: Scope...) async throws -> [String: String] {
    let token = try await developmentToken(
      Settings(["AUTH_KEY": Self.secret]), subject: subject, scopes: Set(scopes), lifetime: .seconds(600))
    return ["Authorization": "Bearer \(token)"]
  }

  @Test("Names and addresses need a scope of their own, which is limited, and each use is logged", .freshStores)
  func scope() async throws {
    let system = System(settings: ["AUTH": "jwt", "AUTH_KEY": Self.secret, "EVENT_FEED": "postgres"])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    try await system.startReady(.projector)
    // The limit is far above what this test sends; another process below has a low one.
    let queries = try await system.startReady(
      .queryService, settings: ["RATE_LIMIT_PER_SCOPE": "personal-data:read=100000"])
    let writer = try await token("writer", .commandsWrite)
    let support = try await token("support", .queriesRead, .personalDataRead)
    let analyst = try await token("analyst", .queriesRead)
    for (method, path, body) in [
      ("POST", "/v1/customers", ["customerId": "ada", "name": "Ada Lovelace", "email": "ada@example.org"] as JSON),
      ("POST", "/v1/products", ["sku": "L", "name": "Lantern", "unitPrice": 300, "tracksStock": false]),
      ("POST", "/v1/orders", ["orderId": "o-1", "customerId": "ada", "lines": [["sku": "L", "quantity": 1]]]),
    ] {
      #expect(try await commands.http.send(method, path, body: body.encoded, headers: writer).status == 201)
    }
    func get(_ path: String, _ token: [String: String]) async throws -> HTTPAnswer {
      try await queries.http.send("GET", path, headers: token)
    }
    func ids(_ answer: HTTPAnswer, _ member: String) -> [String?]? {
      answer.json["items"]?.array?.map { $0[member]?.string }
    }
    try await eventually("both rows are there") {
      let (customer, orders) = (try await get("/v1/customers/ada", support), try await get("/v1/orders", support))
      return customer.json["orders"] == 1 && ids(orders, "orderId") == ["o-1"]
    }
    // One after the other, in both orders: what is cached for one caller is not given to the other.
    for (token, name) in [(analyst, nil), (support, "Ada Lovelace"), (analyst, nil), (support, "Ada Lovelace")] {
      for path in ["/v1/customers/ada", "/v1/customers/ada?version=1"] {
        let row = try await get(path, token)
        #expect(row.status == 200 && row.json["name"]?.string == name, "\(path): \(row.text)")
        #expect((row.json["email"]?.string != nil) == (name != nil) && row.json["customerId"] == "ada")
        #expect(row.text.contains("Lovelace") == (name != nil) && row.text.contains("example.org") == (name != nil))
      }
      let list = try await get("/v1/customers", token)
      #expect(ids(list, "customerId") == ["ada"] && ids(list, "name") == [name])
      let history = try await get("/v1/customers/ada/history", token)
      #expect(history.json["items"]?[0]?["data"]?["name"]?.string == name, "\(history.text)")
      #expect(ids(try await get("/v1/orders?q=lovelace", token), "orderId") == (name == nil ? [] : ["o-1"]))
      #expect(ids(try await get("/v1/orders?q=lantern", token), "orderId") == ["o-1"])
      for search in ["q=lovelace", "email=ada@example.org"] {
        let found = try await get("/v1/customers?\(search)", token)
        #expect(found.status == (name == nil ? 403 : 200), "\(found.text)")
        if name == nil { #expect(found.headers["www-authenticate"]?.contains("personal-data:read") == true) }
      }
    }
    // An entity tag of one is none of the other's.
    let tag = try #require(try await get("/v1/customers/ada", support).headers["etag"])
    #expect(
      try await queries.http.send(
        "GET", "/v1/customers/ada", headers: analyst.merging(["If-None-Match": tag]) { $1 }
      ).status == 200)

    _ = try await get("/v1/customers/ada", support.merging(["X-Correlation-Id": "case-17"]) { $1 })
    try await eventually("the log names the caller, the person, the route and the request") {
      queries.process.output.split(separator: "\n").contains { line in
        ["personal data was read", "subject=support", "persons=ada", "case-17"].allSatisfy { line.contains($0) }
      }
    }
    let log = queries.process.output
    #expect(!log.contains("subject=analyst") && !log.contains("Lovelace") && !log.contains("example.org"))

    let limited = try await system.startReady(.queryService, settings: ["RATE_LIMIT_PER_SCOPE": "personal-data:read=1"])
    func status() async throws -> Int {
      try await limited.http.send("GET", "/v1/customers/ada", headers: support).status
    }
    #expect(try await status() == 200)
    try await eventually("it is limited") { try await status() == 429 }
    // Requests that use another scope go on.
    #expect(try await limited.http.send("GET", "/v1/orders", headers: support).status == 200)
    #expect(try await limited.http.send("GET", "/v1/customers/ada", headers: analyst).status == 200)
  }

  @Test("RATE_LIMIT_PER_SCOPE takes rates by scope, and nothing else")
  func rates() throws {
    func rates(_ text: String) throws -> [Scope: Int] {
      try Settings(["RATE_LIMIT_PER_SCOPE": text])[AccessSettings.scopeRates]
    }
    #expect(try rates("none").isEmpty)
    #expect(
      try rates("personal-data:read=5, commands:write=1000") == [.personalDataRead: 5, .commandsWrite: 1000])
    for wrong in ["a", "a=0", "a=-1", "=5", "a=5,", "a=5,a=6", "a=1.5", "a=b=5", "a=1000001"] {
      #expect(throws: SettingError.self) { try rates(wrong) }
    }
  }
}
