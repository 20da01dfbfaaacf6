import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Interrupted imports", .tags(.system), .needsServers)
struct ImportInterruptionTests {
  private static let orders = 300

  /// Orders of one line each, and a return of every tenth order.
  private func file() throws -> URL {
    var lines = ["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"]
    for n in 0..<Self.orders {
      let line = "SKU\(n % 7),Mug \(n % 7),%,2010-12-0\(1 + n % 9)T08:00:00Z,1.50,\(n % 20),France"
      lines.append("\(1000 + n),\(line.replacing("%", with: "2"))")
      if n % 10 == 0 { lines.append("C\(1000 + n),\(line.replacing("%", with: "-1"))") }
    }
    let file = TestEnvironment.scratch.appendingPathComponent("trade.csv")
    try Data(lines.joined(separator: "\n").utf8).write(to: file)
    return file
  }

  /// The number of events of each type.
  private func events(_ database: PostgresConnection) async throws -> [String: Int] {
    let rows = try await database.query("select type, count(*) from event_store.events group by type")
    return Dictionary(uniqueKeysWithValues: try rows.decode((String, Int).self))
  }

  @Test(
    "An import that is killed and run again duplicates nothing and omits nothing", .freshStores,
    .freshVirtualHost)
  func killed() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    try await system.startReady([.relay, .projector])
    let queries = try await system.startReady(.queryService)
    let arguments = [
      "import-retail", try file().path, "--commands", commands.http.base, "--concurrency", "8", "--json",
    ]
    let store = try await FreshDatabase.current.connect()

    let killed = try system.run("counterflow", arguments)
    try await eventually("it has begun with the orders") { try await events(store)["OrderPlaced"] ?? 0 >= 20 }
    // Appends wait from here on: the import cannot end before it is killed, and dies with requests in flight.
    try await store.execute("begin")
    try await store.query("select pg_advisory_xact_lock(7310029201180266610)")
    killed.signal(SIGKILL)
    #expect(try await killed.wait() == 128 + SIGKILL)
    try await store.execute("commit")
    #expect(try await events(store)["OrderPlaced"] ?? 0 < Self.orders)

    func again() async throws -> JSON {
      let process = try system.run("counterflow", arguments)
      #expect(try await process.wait() == 0, "\(process.output)")
      return try JSON(parsing: Array((process.output.split(separator: "\n").last { $0.hasPrefix("{") } ?? "").utf8))
    }
    let summary = try await again()
    #expect(summary["failed"] == 0 && summary["orders"] == .integer(Int64(Self.orders)) && summary["returns"] == 30)
    let complete = try await events(store)
    for (type, count) in ["OrderPlaced": 300, "OrderPaid": 300, "OrderShipped": 300, "ReturnRecorded": 30] {
      #expect(complete[type] == count, "\(type)")
    }
    #expect(complete["ProductRegistered"] == 7 && complete["CustomerRegistered"] == 20)
    try await eventually("the figures have come") {
      let year = try await queries.http.get("/v1/sales?interval=year").json["items"]?[0]
      return year?["orders"] == 300 && year?["gross"] == 90_000 && year?["returned"] == 4_500
    }
    // Once more, with nothing left to do.
    #expect(try await again()["failed"] == 0)
    #expect(try await events(store) == complete)
  }

  @Test(
    "An import over TLS needs a trusted certificate, and an unreadable setting is reported",
    .freshDatabase())
  func tls() async throws {
    let system = System()
    try await system.migrate()
    let authority = try await TestAuthority()
    let commands = try await system.start(.commandService, settings: authority.serverSettings)
    let file = try file().path
    func load(_ settings: [String: String]) async throws -> (Int32, String) {
      let process = try system.run(
        "counterflow",
        ["import-retail", file, "--commands", commands.http.base.replacing("http:", with: "https:"), "--json"],
        settings: settings)
      return (try await process.wait(), process.output)
    }
    let (status, output) = try await load(authority.clientSettings)
    #expect(status == 0 && output.contains(#""failed":0"#), "\(output)")
    let unknown = try await load([:])
    #expect(unknown.0 != 0 && unknown.1.contains("its certificate is not trusted; set TLS_CA_FILE"), "\(unknown.1)")
    let unreadable = try await load(authority.clientSettings.merging(["COUNTERFLOW_TOKEN_FILE": "/nowhere"]) { $1 })
    #expect(unreadable.0 != 0 && unreadable.1.contains("cannot be read from the file /nowhere"), "\(unreadable.1)")
  }
}
