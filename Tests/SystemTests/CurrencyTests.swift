import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("The store's currency", .tags(.system), .needsServers)
struct CurrencyTests {
  private static let lantern: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]

  private func start(_ system: System, _ currency: String) throws -> ChildProcess {
    try system.run(
      "command-service",
      settings: ["HTTP_PORT": "0", "WRITE_DATABASE_URL": system.url(of: .commandService), "CURRENCY": currency])
  }

  private func isRefused(_ process: ChildProcess, _ currency: String, store: String) async throws {
    #expect(try await process.wait() == 78, "\(process.output)")
    #expect(process.output.contains("CURRENCY is '\(currency)'"), "\(process.output)")
    #expect(process.output.contains("set CURRENCY=\(store)"), "\(process.output)")
  }

  @Test("The first start sets the currency, and a start with another one exits with an explanation", .freshDatabase())
  func another() async throws {
    let system = System(settings: ["CURRENCY": "EUR"])
    try await system.migrate()
    let first = try await system.startReady(.commandService)
    #expect(try await first.http.post("/v1/products", Self.lantern).status == 201)
    try await isRefused(try start(system, "GBP"), "GBP", store: "EUR")
    let second = try await system.startReady(.commandService)
    #expect(try await second.http.send("DELETE", "/v1/products/LANTERN").status == 200)

    // A store from before the currency was stored: its events contain it.
    let database = try await FreshDatabase.current.connect()
    try await database.execute(
      "drop schema commerce cascade; delete from counterflow_migrations where schema = 'commerce'")
    try await system.migrate()
    try await isRefused(try start(system, "GBP"), "GBP", store: "EUR")
    for change in [
      "update commerce.store set currency = 'GBP'", "delete from commerce.store", "truncate commerce.store",
    ] {
      await #expect(throws: PostgresError.self, "\(change)") { try await database.execute(change) }
    }
    #expect(first.process.isRunning && second.process.isRunning)
  }

  @Test("Of two concurrent first starts with different currencies, one continues and the other exits", .freshDatabase())
  func together() async throws {
    let system = System()
    try await system.migrate()
    let starts = try ["GBP", "EUR"].map { ($0, try start(system, $0)) }
    try await eventually("one of them ends") { starts.contains { !$0.1.isRunning } }
    let database = try await FreshDatabase.current.connect()
    let store = try await database.query("select currency from commerce.store").value(String.self)
    for (currency, process) in starts where currency != store {
      try await isRefused(process, currency, store: store)
    }
    let winner = try #require(starts.first { $0.0 == store }).1
    let port = try #require(winner.output.firstMatch(of: /listening on 127\.0\.0\.1:(\d+)/)?.output.1)
    let http = HTTPProbe("http://127.0.0.1:\(port)")
    _ = try await http.get("/readyz", until: 200)
    #expect(try await http.post("/v1/products", Self.lantern).status == 201)
  }

  @Test("A running process exits if its store is replaced by one with another currency", .freshDatabase())
  func replaced() async throws {
    let system = System()
    try await system.migrate()
    let service = try await system.startReady(.commandService)
    let database = try await FreshDatabase.current.connect()
    try await database.execute(
      """
      alter table commerce.store disable trigger currency_is_kept;
      update commerce.store set currency = 'EUR';
      alter table commerce.store enable trigger currency_is_kept
      """)
    try await eventually("it is asked whether it is ready, and ends") {
      _ = await service.isReady()
      return !service.process.isRunning
    }
    try await isRefused(service.process, "GBP", store: "EUR")
  }
}
