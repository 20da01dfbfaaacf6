import Foundation
import JSON
import Postgres
import TestSupport
import Testing

/// A write store that is restored from a backup has the keys of those who were erased after it.
@Suite("Erasures after a restore", .tags(.system), .needsServers)
struct ErasureRestoreTests {
  private struct Shop {
    let system: System

    func counterflow(_ arguments: String..., settings: [String: String] = [:]) async throws -> (
      status: Int32, output: String
    ) {
      let process = try system.run("counterflow", arguments, settings: settings)
      return (try await process.wait(), process.output)
    }

    func register(_ id: String, _ commands: RunningService) async throws -> HTTPAnswer {
      let customer: JSON = ["customerId": .string(id), "name": .string("Name of \(id)"), "country": "England"]
      return try await commands.http.post("/v1/customers", customer)
    }

    func erase(_ id: String, _ commands: RunningService) async throws -> HTTPAnswer {
      try await commands.http.send("DELETE", "/v1/customers/\(id)/personal-data")
    }
  }

  /// The persons with a key.
  private func persons(_ url: String) async throws -> [String] {
    let connection = try await PostgresConnection.connect(PostgresConfiguration(url: url))
    let persons = try await connection.query("select person from personal.keys where key is not null order by person")
      .decode(String.self)
    await connection.close()
    return persons
  }

  @Test("Whoever was erased after the backup is erased again before anything is appended", .freshStores)
  func restored() async throws {
    let first = try PrivateServer(.postgres)
    let url = try await first.url()
    let shop = Shop(
      system: System(writeURL: url, readURL: FreshDatabase.readStore.url, settings: ["EVENT_FEED": "postgres"]))
    try await shop.system.migrate()
    let commands = try await shop.system.startReady(.commandService)
    let projector = try await shop.system.startReady(.projector)
    let queries = try await shop.system.startReady(.queryService)
    for id in ["ada", "bob", "old"] { #expect(try await shop.register(id, commands).status == 201) }
    #expect(try await shop.erase("old", commands).status == 200)
    _ = try await queries.http.get("/v1/customers/bob", until: 200)
    try await first.stop()
    try await first.backUp()

    let second = try PrivateServer(.postgres, inPlaceOf: first)
    try await commands.becomesReady()
    #expect(try await shop.register("late", commands).status == 201)
    let receipt = try await shop.erase("ada", commands)
    #expect(receipt.status == 200)
    #expect(try await shop.erase("late", commands).status == 200)
    let log = try await FreshDatabase.readStore.connect()
    try await eventually("the erasures are logged") {
      try await log.query("select person from erasures.log order by person").decode(String.self)
        == ["ada", "late", "old"]
    }
    let export = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
    #expect(try await shop.counterflow("erasures", "export", export).status == 0)
    for service in [commands, projector] {
      service.process.signal(SIGTERM)
      try await service.process.wait()
    }
    try await second.stop()
    try await second.restore()
    _ = try PrivateServer(.postgres, inPlaceOf: second)
    try await eventually("the restored server answers, and has the key of ada again") {
      (try? await persons(url)) == ["ada", "bob"]
    }
    // The read store is lost, too, and comes back from the file.
    try await log.query("delete from erasures.log")
    #expect(try await shop.counterflow("erasures").output.contains("1 erasures"), "only that of the backup")
    for _ in 0..<2 { #expect(try await shop.counterflow("erasures", "import", export).status == 0) }
    let undone = try await shop.counterflow("erasures")
    #expect(undone.status == 1 && undone.output.contains("lacks 2"), "\(undone.output)")

    let finished = try await shop.counterflow("restore-finished")
    #expect(finished.status == 0 && finished.output.contains("2 persons"), "\(finished.output)")
    #expect(try await persons(url) == ["bob"])
    for command in ["repeat", "show"] { #expect(try await shop.counterflow("erasures", command).status == 0) }
    let again = try await shop.counterflow("restore-finished")
    #expect(again.status == 0 && !again.output.contains("persons"), "\(again.output)")

    let restarted = try await shop.system.startReady(.commandService)
    // The event was appended again: the receipt is the same, and an id is not given to somebody else.
    let repeated = try await shop.erase("ada", restarted)
    #expect(repeated.json["changed"] == false && repeated.json["erasedAt"] == receipt.json["erasedAt"])
    for id in ["ada", "late"] { #expect(try await shop.register(id, restarted).status == 409, "\(id)") }
    try await shop.system.startReady(.projector)
    let rebuilt = try await shop.counterflow("rebuild", "customers")
    #expect(rebuilt.status == 0, "\(rebuilt.output)")
    let row = try await queries.http.get("/v1/customers/ada", until: 200).json
    #expect(row["name"] == JSON.null && row["erasedAt"] == receipt.json["erasedAt"])
    #expect(try await queries.http.get("/v1/customers/bob").json["name"] == "Name of bob")
  }

  @Test("Without the log of erasures a restore is declared only on request", .freshStores)
  func lostLog() async throws {
    let shop = Shop(system: System(readURL: "postgres://127.0.0.1:1/nowhere?connect_timeout=1"))
    let real = ["READ_DATABASE_URL": FreshDatabase.readStore.url]
    #expect(try await shop.counterflow("migrate", settings: real).status == 0)
    let database = try await FreshDatabase.current.connect()
    func historyID() async throws -> String {
      try await database.query("select history_id::text from event_store.identity").value(String.self)
    }
    let before = try await historyID()
    let refused = try await shop.counterflow("restore-finished")
    #expect(refused.status != 0 && refused.output.contains("--without-erasures"), "\(refused.output)")
    #expect(try await historyID() == before)
    #expect(try await shop.counterflow("restore-finished", "--without-erasures").status == 0)
    #expect(try await historyID() != before)
  }
}
