import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Administration", .tags(.system), .needsServers)
struct AdministrationTests {
  /// A system with one product.
  private struct Shop {
    // These tests change rows by hand, which no checkpoint shows. Without the cache, queries read the rows.
    let system = System(settings: ["PROJECTION_HALT_RETRY": "1", "QUERY_CACHE_MB": "0"])
    let commands: RunningService
    let queries: RunningService
    let processes: [RunningService]
    /// The read store, where tests damage projected rows.
    let database: PostgresConnection
    let writeStore: PostgresConnection

    init() async throws {
      try await system.migrate()
      commands = try await system.startReady(.commandService)
      queries = try await system.startReady(.queryService)
      processes = [
        try await system.startReady(.relay), try await system.startReady(.projector),
        try await system.startReady(.projector), try await system.startReady(.reactor),
      ]
      database = try await FreshDatabase.readStore.connect()
      writeStore = try await FreshDatabase.current.connect()
      _ = try await commands.http.post(
        "/v1/products", ["sku": "LANTERN", "name": "Metal lantern", "unitPrice": 339, "tracksStock": false])
      _ = try await queries.http.get("/v1/products/LANTERN", until: 200)
    }

    func order(_ ids: [String]) async throws {
      for id in ids {
        let answer = try await commands.http.post(
          "/v1/orders",
          ["orderId": .string(id), "customerId": "ada", "lines": [["sku": "LANTERN", "quantity": 2]]])
        #expect(answer.status == 201)
      }
    }

    func counterflow(_ arguments: String...) async throws -> (status: Int32, output: String) {
      let process = try system.run("counterflow", arguments)
      return (try await process.wait(), process.output)
    }
  }

  @Test(
    "Poison events block no others; after a repair one is retried, and two are discarded at once", .freshStores,
    .freshVirtualHost)
  func poison() async throws {
    let shop = try await Shop()
    try await shop.database.query(
      "alter table read_models.orders_g1 add constraint poison check (key not in ('bad', 'worse', 'worst'))")
    try await shop.order(["bad", "worse", "worst"] + (0..<20).map { "o-\($0)" })
    for n in 0..<20 { _ = try await shop.queries.http.get("/v1/orders/o-\(n)", until: 200) }
    #expect(try await shop.queries.http.get("/v1/orders/bad").status == 404)
    _ = try await shop.commands.http.post("/v1/orders/bad/cancellation", ["reason": "late"])
    try await eventually("they are parked") {
      try await shop.database.query("select 1 from projections.parked").count == 3
    }

    let status = try await shop.counterflow("status")
    #expect(status.status == 1 && status.output.contains("orders"), "\(status.output)")
    let list = try await shop.counterflow("parked", "list", "--json")
    let parked = try JSON(parsing: Array(list.output.utf8)).array
    let bad = try #require(parked?.first { $0["stream"]?.string == "order-bad" })
    #expect(parked?.count == 3 && bad["version"]?.integer == 1)
    let show = try await shop.counterflow("parked", "show", "orders", "order-bad")
    #expect(show.output.contains("poison") && show.output.contains("OrderPlaced"), "\(show.output)")
    let vain = try await shop.counterflow("parked", "retry", "orders")
    #expect(vain.status == 1 && vain.output.contains("failed again"), "\(vain.output)")
    // Verification accounts for the waiting events.
    let waiting = try await shop.counterflow("verify")
    #expect(waiting.status == 0 && waiting.output.contains("Complete: every event"), "\(waiting.output)")

    try await shop.database.query("alter table read_models.orders_g1 drop constraint poison")
    let stranger = try await shop.counterflow("parked", "discard", "orders", "order-worse", "order-good")
    #expect(stranger.status != 0 && stranger.output.contains("not parked: order-good"), "\(stranger.output)")
    let discard = try await shop.counterflow("parked", "discard", "orders", "order-worse", "order-worst")
    #expect(discard.status == 0 && discard.output.contains("2 of 2 streams continue"), "\(discard.output)")
    let retry = try await shop.counterflow("parked", "retry", "orders", "order-bad")
    #expect(retry.status == 0 && retry.output.contains("1 of 1 streams continue"), "\(retry.output)")
    #expect(try await shop.queries.http.get("/v1/orders/bad").json["status"] == "cancelled")
    #expect(try await shop.queries.http.get("/v1/orders/worse").status == 404)
    #expect(try await shop.counterflow("parked").output.contains("No stream is parked"))
    #expect(try await shop.counterflow("verify").status == 0)
    // A slow worker may be missing from the status for a moment. The reactor is two: one runs its process manager.
    try await eventually("the status is sound, of both projectors and the reactor") {
      let sound = try await shop.counterflow("status", "--json")
      return try sound.status == 0 && JSON(parsing: Array(sound.output.utf8))["workers"]?.array?.count == 4
    }
  }

  @Test(
    "verify reports a changed row, a missing row and an uncounted event", .freshStores,
    .freshVirtualHost)
  func verify() async throws {
    let shop = try await Shop()
    try await shop.order((0..<10).map { "o-\($0)" })
    for n in 0..<10 { _ = try await shop.queries.http.get("/v1/orders/o-\(n)", until: 200) }
    #expect(try await shop.counterflow("verify", "--sample", "8").status == 0)
    try await shop.database.query(
      "update read_models.orders_g1 set document = replace(document::text, 'placed', 'sent')::json where key = 'o-3'")
    try await shop.database.query("delete from read_models.orders_g1 where key = 'o-4'")
    try await shop.database.query(
      "insert into read_models.orders_g1 select 'ghost', version, stream_hash, document, customer_id, placed_at, status, country, skus from read_models.orders_g1 where key = 'o-5'"
    )
    try await shop.database.query(
      "update projections.checkpoints set applied = applied - 1 where (projection, generation, partition) in (select projection, generation, partition from projections.checkpoints where projection = 'orders' and applied > 0 limit 1)"
    )
    let result = try await shop.counterflow("verify", "orders")
    #expect(result.status == 1)
    for finding in ["row o-3: the document", "no row o-4", "events are accounted for"] {
      #expect(result.output.contains(finding), "\(finding) in \(result.output)")
    }
    // Extra and missing rows must differ in number: verify compares the keys only if the counts differ.
    try await shop.database.query("delete from read_models.orders_g1 where key = 'o-6'")
    try await shop.database.query(
      "insert into read_models.orders_g1 select k, version, stream_hash, document, customer_id, placed_at, status, country, skus from read_models.orders_g1, unnest(array['x', 'y']) k where key = 'o-5'"
    )
    #expect(try await shop.counterflow("verify", "orders").output.contains("has a row ghost that no event made"))
  }

  @Test(
    "A rebuild under load survives a kill, activates without a difference, and can be rolled back", .freshStores,
    .freshVirtualHost)
  func rebuild() async throws {
    let shop = try await Shop()
    try await shop.order((0..<50).map { "o-\($0)" })
    let load = Task { for n in 50..<150 { try await shop.order(["o-\(n)"]) } }
    let killed = try shop.system.run("counterflow", ["rebuild", "orders"])
    try await eventually("the next generation is there") {
      try await shop.database.query("select 1 from projections.generations where generation = 2").count == 1
    }
    killed.signal(SIGKILL)
    shop.processes[1].process.signal(SIGKILL)
    let resumed = try await shop.counterflow("rebuild", "orders", "--only-if-equal")
    #expect(resumed.status == 0, "\(resumed.output)")
    #expect(
      resumed.output.contains("All rows of generations 1 and 2 are equal.")
        && resumed.output.contains("Generation 2 serves now"),
      "\(resumed.output)")
    try await load.value
    for n in 0..<150 { _ = try await shop.queries.http.get("/v1/orders/o-\(n)", until: 200) }
    let all = try await shop.counterflow("verify", "--all-generations")
    #expect(all.status == 0, "\(all.output)")
    let back = try await shop.counterflow("rebuild", "orders", "--rollback")
    #expect(back.output.contains("Generation 1 serves again"), "\(back.output)")
    try await shop.order(["later"])
    _ = try await shop.queries.http.get("/v1/orders/later", until: 200)
    #expect(try await shop.counterflow("rebuild", "orders", "--discard", "1").status != 0)
    #expect(try await shop.counterflow("rebuild", "orders", "--discard", "2").status == 0)
  }

  @Test("A rebuild repairs a damaged table and reports what differed", .freshStores, .freshVirtualHost)
  func repairing() async throws {
    let shop = try await Shop()
    try await shop.order((0..<10).map { "o-\($0)" })
    for n in 0..<10 { _ = try await shop.queries.http.get("/v1/orders/o-\(n)", until: 200) }
    try await shop.database.query("delete from read_models.orders_g1 where key = 'o-4'")
    let refused = try await shop.counterflow("rebuild", "orders", "--only-if-equal")
    #expect(refused.status == 1 && refused.output.contains("1 rows differ: o-4"), "\(refused.output)")
    #expect(try await shop.queries.http.get("/v1/orders/o-4").status == 404)
    let done = try await shop.counterflow("rebuild", "orders")
    #expect(done.status == 0, "\(done.output)")
    #expect(try await shop.queries.http.get("/v1/orders/o-4").status == 200)
    #expect(try await shop.counterflow("verify").status == 0)
  }

  @Test("A command that waits for a database says once why it cannot connect")
  func waiting() async throws {
    let system = System(writeURL: "postgres://a@127.0.0.1:1/b")
    let migrate = try system.run("counterflow", ["migrate", "--wait", "1"])
    #expect(try await migrate.wait() == 1)
    let lines = migrate.output.matches(of: /cannot connect yet, trying for 1 s: .*127\.0\.0\.1/)
    #expect(lines.count == 1, "\(migrate.output)")
  }

  @Test(
    "With a projector limited to some projections, the others are reported as unowned", .freshStores,
    .freshVirtualHost)
  func limited() async throws {
    let system = System(settings: ["LEASE_DURATION": "1"])
    try await system.migrate()
    let counterflow = { (arguments: [String]) async throws -> (status: Int32, output: String) in
      let process = try system.run("counterflow", arguments)
      return (try await process.wait(), process.output)
    }
    try await system.startReady(.reactor)
    let orders = try await system.startReady(.projector, settings: ["PROJECTIONS": "orders"])
    let early = try await counterflow(["status"])
    #expect(early.status == 1 && early.output.contains("No projector has run catalogue yet"), "\(early.output)")
    let catalogue = try await system.startReady(
      .projector, settings: ["PROJECTIONS": "catalogue, customers,returns,sales"])
    try await eventually("each runs its own") {
      let status = try await counterflow(["status"])
      return status.status == 0 && status.output.contains("16  orders@1/16")
        && status.output.contains("64  catalogue@1/16 customers@1/16 returns@1/16 sales@1/16")
    }
    let before = orders.process.output.count
    catalogue.process.signal(SIGKILL)
    try await eventually("the alarm is in the log") {
      let log = orders.process.output.dropFirst(before)
      return log.contains("assignments have no owner") && log.contains("catalogue")
    }
    let late = try await counterflow(["status"])
    #expect(late.status == 1 && late.output.contains("nobody"), "\(late.output)")
  }

  @Test("The status reports forked projections, and a rebuild repairs them", .freshStores, .freshVirtualHost)
  func forks() async throws {
    let shop = try await Shop()
    try await shop.order(["a", "b"])
    for order in ["a", "b"] { _ = try await shop.queries.http.get("/v1/orders/\(order)", until: 200) }
    try await eventually("all is applied") { try await shop.counterflow("verify").status == 0 }
    // As after a restore.
    #expect(try await shop.counterflow("restore-finished").status == 0)
    try await eventually("the status says so") {
      let status = try await shop.counterflow("status")
      return status.status == 1 && status.output.contains("16 forked")
    }
    for projection in ["orders", "catalogue", "customers", "returns", "sales"] {
      let rebuilt = try await shop.counterflow("rebuild", projection, "--only-if-equal")
      #expect(rebuilt.status == 0, "\(rebuilt.output)")
      #expect(try await shop.counterflow("rebuild", projection, "--discard", "1").status == 0)
    }
    try await shop.order(["c"])
    _ = try await shop.queries.http.get("/v1/orders/c", until: 200)
    #expect(try await shop.counterflow("verify").status == 0)
    try await eventually("the status is sound") { try await shop.counterflow("status").status == 0 }
  }

  @Test(
    "rebuild --until builds the state of an earlier position or time in separate tables", .freshStores,
    .freshVirtualHost)
  func past() async throws {
    let shop = try await Shop()
    try await shop.order(["a", "b", "c"])
    _ = try await shop.commands.http.post("/v1/orders/a/cancellation", ["reason": "r"])
    let result = try await shop.counterflow("rebuild", "orders", "--until", "3")
    #expect(result.status == 0 && result.output.contains("read_models.orders_g2"), "\(result.output)")
    let rows = try await shop.database.query(
      "select key, document->>'status' from read_models.orders_g2 order by key"
    ).decode((String, String).self)
    #expect(rows.map(\.0) == ["a", "b"] && rows.allSatisfy { $0.1 == "placed" })
    let time = try await shop.writeStore.query(
      "select to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') from event_store.events where position = 4"
    ).value(String.self)
    #expect(try await shop.counterflow("rebuild", "orders", "--until", time).output.contains("up to position 4"))
    for wrong in ["0", "99", "yesterday"] {
      #expect(try await shop.counterflow("rebuild", "orders", "--until", wrong).status != 0)
    }
    #expect(try await shop.counterflow("rebuild", "orders", "--discard", "2").status == 0)
  }
}
