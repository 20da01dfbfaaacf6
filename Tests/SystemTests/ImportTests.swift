import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Import of a real data set", .tags(.system), .needsServers)
struct ImportTests {
  private static let file =
    ProcessInfo.processInfo.environment["RETAIL_CSV"]
    ?? TestEnvironment.root.deletingLastPathComponent().appendingPathComponent("shared/data/online-retail.csv").path

  @Test(
    "The imported totals match the file, and a second import changes nothing", .freshStores,
    .freshVirtualHost, .enabled(if: FileManager.default.fileExists(atPath: file), "RETAIL_CSV names no file"))
  func retail() async throws {
    let system = System()
    try await system.migrate()
    let services = [
      try await system.startReady(.commandService), try await system.startReady(.relay),
      try await system.startReady(.projector), try await system.startReady(.queryService),
    ]
    let (commands, queries) = (services[0].http, services[3].http)
    func load(_ arguments: String...) async throws -> JSON {
      let process = try system.run(
        "counterflow",
        ["import-retail", Self.file, "--commands", commands.base, "--concurrency", "64", "--json"] + arguments)
      #expect(try await process.wait(within: .seconds(600)) == 0, "\(process.output)")
      let line = process.output.split(separator: "\n").last { $0.hasPrefix("{") } ?? ""
      return try JSON(parsing: Array(line.utf8))
    }
    let position = { () async throws -> Int in
      try await FreshDatabase.current.connect().query("select max(position) from event_store.events").value(Int.self)
    }
    // Imports a part first, as an interrupted import would.
    #expect(try await load("--to", "2010-12-03")["failed"] == 0)
    let summary = try await load()
    let end = try await position()

    let python = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/python3"),
      [TestEnvironment.root.appendingPathComponent("Tests/SystemTests/retail_figures.py").path, Self.file])
    try #require(try await python.wait() == 0, "\(python.output)")
    let figures = try JSON(parsing: Array(python.output.utf8))

    #expect(summary["orders"] == figures["orders"] && summary["returns"] == figures["returns"])
    func rejected(_ json: JSON) throws -> [String: Int64] {
      let counts = try #require(json["rejected"]?.members).map { ($0.name, try #require($0.value.integer)) }
      return Dictionary(uniqueKeysWithValues: counts.filter { $0.1 != 0 })
    }
    #expect(try rejected(summary) == rejected(figures))
    #expect(try !rejected(figures).isEmpty)
    func items(_ path: String) async throws -> [JSON] { try await queries.get(path).json["items"]?.array ?? [] }
    func table(_ items: [JSON], _ key: String, _ columns: [String]) -> [String: [JSON]] {
      var rows: [String: [JSON]] = [:]
      for item in items { rows[item[key]?.string ?? ""] = columns.map { item[$0] ?? .null } }
      return rows
    }
    func expected(_ name: String) throws -> [String: [JSON]] {
      let rows = try #require(figures[name]?.members).map { ($0.name, try #require($0.value.array)) }
      try #require(!rows.isEmpty)
      return Dictionary(uniqueKeysWithValues: rows)
    }
    let months = try expected("months")
    try await eventually("the figures have come", within: .seconds(120)) {
      let read = try await items("/v1/sales?interval=month")
      return table(read, "from", ["orders", "units", "gross", "returned"]) == months
    }
    let countries = try expected("countries")
    #expect(
      table(try await items("/v1/sales/countries"), "country", ["orders", "gross", "returned"]) == countries)
    let products = table(
      try await items("/v1/sales/products?limit=1000&by=gross"), "sku", ["units", "gross", "returned"])
    #expect(products.count == 1000)
    let allProducts = try expected("products")
    #expect(products.allSatisfy { allProducts[$0.key] == $0.value })
    let customers = table(
      try await items("/v1/sales/customers?limit=1000"), "customerId", ["orders", "gross", "returned"])
    #expect(customers.count == 1000)
    let allCustomers = try expected("customers")
    #expect(customers.allSatisfy { allCustomers[$0.key] == $0.value })
    // All products, from the tables.
    let database = try await FreshDatabase.readStore.connect()
    let sums = try await database.query(
      "select sku, sum(units)::bigint, sum(gross)::bigint, sum(returned)::bigint from read_models.sales_products group by sku"
    ).decode((String, Int64, Int64, Int64).self)
    let rows = Dictionary(
      uniqueKeysWithValues: sums.map { ($0.0, [JSON.integer($0.1), .integer($0.2), .integer($0.3)]) })
    #expect(rows == allProducts)
    // All orders are shipped, so nothing is reserved and only returned goods are on hand.
    try await eventually("the stock has come") {
      let stock = try await items("/v1/products?limit=100")
      return stock.count == 100 && stock.allSatisfy { $0["stock"]?["reserved"] == 0 }
    }
    #expect(try await items("/v1/orders?status=shipped&limit=100").count == 100)

    #expect(try await load("--to", "2010-12-03")["failed"] == 0)
    #expect(try await position() == end)
  }
}
