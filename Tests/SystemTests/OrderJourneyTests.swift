import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Whole processes", .tags(.system), .needsServers)
struct OrderJourneyTests {
  private let lantern: JSON = ["sku": "lantern", "name": "Metal lantern", "unitPrice": 339, "tracksStock": false]

  enum Stores: CaseIterable {
    case inOneDatabase, inTwoDatabases, onTwoServers

    func system() async throws -> System {
      switch self {
      case .inOneDatabase: System(writeURL: FreshDatabase.current.url)
      case .inTwoDatabases: System()
      case .onTwoServers: System(readURL: try await PrivateServer(.postgres).url())
      }
    }
  }

  @Test(
    "An order placed in one process is readable in another, in any layout of the stores", .freshStores,
    .freshVirtualHost,
    arguments: Stores.allCases)
  func journey(stores: Stores) async throws {
    let system = try await stores.system()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let relay = try await system.startReady(.relay)
    let projector = try await system.startReady(.projector)
    let queries = try await system.startReady(.queryService)

    let product = try await commands.http.post("/v1/products", lantern)
    #expect(product.status == 201 && product.headers["location"] == "/v1/products/LANTERN")
    #expect(product.json == ["id": "LANTERN", "version": 1, "position": 1])
    let order = try await commands.http.post(
      "/v1/orders",
      [
        "orderId": "a b/c", "customerId": "ada", "placedAt": "2026-11-21T10:30:00+01:00",
        "lines": [["sku": "LANTERN", "quantity": 6], ["sku": "lantern", "quantity": 1]],
      ])
    #expect(order.status == 201 && order.headers["location"] == "/v1/orders/a%20b%2Fc")
    #expect(order.json == ["id": "a b/c", "version": 1, "position": 2])
    let read = try await queries.http.get("/v1/orders/a%20b%2Fc", until: 200)
    let line: (Int64) -> JSON = { quantity in
      [
        "sku": "LANTERN", "name": "Metal lantern", "quantity": .integer(quantity), "unitPrice": 339,
        "lineTotal": .integer(quantity * 339), "returned": 0,
      ]
    }
    #expect(
      read.json == [
        "orderId": "a b/c", "customerId": "ada", "country": nil, "status": "placed", "lines": [line(6), line(1)],
        "total": 2373, "returnedTotal": 0, "currency": "GBP", "placedAt": "2026-11-21T09:30:00Z",
        "paymentReference": nil, "carrier": nil, "trackingCode": nil, "cancellationReason": nil,
        "timeline": [["status": "placed", "at": "2026-11-21T09:30:00Z"]], "version": 1,
      ])
    #expect(try await queries.http.get("/v1/products/Lantern", until: 200).json["unitPrice"] == 339)

    let cancelled = try await commands.http.post("/v1/orders/a%20b%2Fc/cancellation", ["reason": "cheaper elsewhere"])
    #expect(cancelled.status == 200)
    #expect(cancelled.json == ["id": "a b/c", "version": 2, "position": 3, "changed": true])
    let again = try await commands.http.post("/v1/orders/a%20b%2Fc/cancellation", ["reason": "cheaper elsewhere"])
    #expect(again.status == 200 && again.json == ["id": "a b/c", "version": 2, "position": 3, "changed": false])
    try await eventually("the cancellation is read") {
      try await queries.http.get("/v1/orders/a%20b%2Fc").json["status"] == "cancelled"
    }

    // Without an id the service makes one. Without a customer there is none.
    let anonymous = try await commands.http.post("/v1/orders", ["lines": [["sku": "LANTERN", "quantity": 1]]])
    let id = try #require(anonymous.json["id"]?.string)
    #expect(UUID(uuidString: id) != nil)
    #expect(try await queries.http.get("/v1/orders/\(id)", until: 200).json["customerId"] == JSON.null)

    // SIGTERM and SIGINT drain the process and end it with status 0.
    for (service, signal) in [(commands, SIGTERM), (relay, SIGINT), (projector, SIGTERM), (queries, SIGINT)] {
      service.process.signal(signal)
      #expect(try await service.process.wait() == 0, "\(service.process.output)")
    }
  }

  @Test("EVENT_FEED=postgres works without a relay and a broker", .freshStores)
  func withoutBroker() async throws {
    let system = System(amqpURL: "", settings: ["EVENT_FEED": "postgres", "PROJECTION_HEAD_INTERVAL": "60"])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let projectors = [try await system.startReady(.projector), try await system.startReady(.projector)]
    let queries = try await system.startReady(.queryService)
    _ = try await commands.http.post("/v1/products", lantern)
    for number in 0..<20 {
      let order: JSON = ["orderId": .string("\(number)"), "lines": [["sku": "LANTERN", "quantity": 1]]]
      let answer = try await commands.http.post("/v1/orders", order)
      #expect(answer.status == 201)
    }
    for number in 0..<20 { _ = try await queries.http.get("/v1/orders/\(number)", until: 200) }
    for projector in projectors {
      projector.process.signal(SIGTERM)
      #expect(try await projector.process.wait() == 0, "\(projector.process.output)")
    }
  }

  @Test("A customer's orders come in pages, newest first, each once", .freshStores, .freshVirtualHost)
  func pages() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    try await system.startReady(.projector)
    let queries = try await system.startReady(.queryService)
    _ = try await commands.http.post("/v1/products", lantern)
    for n in 0..<25 {
      // Several orders have the same time: the id then decides.
      let answer = try await commands.http.post(
        "/v1/orders",
        [
          "orderId": .string("o-\(n)"), "customerId": "ada", "placedAt": .string("2026-11-\(10 + n / 5)T00:00:00Z"),
          "lines": [["sku": "LANTERN", "quantity": 1]],
        ])
      #expect(answer.status == 201)
    }
    try await eventually("all are there") {
      try await queries.http.get("/v1/customers/ada/orders?limit=100").json["items"]?.array?.count == 25
    }
    var ids: [String] = []
    var path = "/v1/customers/ada/orders?limit=7"
    while true {
      let page = try await queries.http.get(path)
      try #require(page.status == 200, "\(page.text)")
      ids += page.json["items"]?.array?.compactMap { $0["orderId"]?.string } ?? []
      guard let cursor = page.json["nextCursor"]?.string else { break }
      path = "/v1/customers/ada/orders?limit=7&cursor=\(cursor)"
    }
    let expected = (0..<25).sorted { ($0 / 5, "o-\($0)") > ($1 / 5, "o-\($1)") }.map { "o-\($0)" }
    #expect(ids == expected)
    #expect(try await queries.http.get("/v1/customers/nobody/orders").json == ["items": [], "nextCursor": nil])
    for query in ["limit=0", "limit=101", "limit=x", "cursor=%20", "cursor=AAAA", "cursor=MDoA", "cursor=MDrDvA"] {
      let answer = try await queries.http.get("/v1/customers/ada/orders?\(query)")
      #expect(answer.status == 400 && answer.problem == "invalid-parameter", "\(query)")
    }
  }

  @Test("A command in progress completes when the service gets SIGTERM", .freshStores, .freshVirtualHost)
  func draining() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    _ = try await commands.http.post("/v1/products", lantern)
    let database = FreshDatabase.current!
    let blocker = try await database.connect()
    try await blocker.execute("begin")
    try await blocker.query("select pg_advisory_xact_lock(7310029201180266610)")
    async let answer = commands.http.post(
      "/v1/orders", ["orderId": "o", "lines": [["sku": "LANTERN", "quantity": 1]]])
    let observer = try await database.connect()
    try await eventually("the append waits") {
      try await observer.query(
        "select 1 from pg_stat_activity where datname = \(database.name) and wait_event_type = 'Lock'"
      ).count == 1
    }
    commands.process.signal(SIGTERM)
    try await blocker.execute("commit")
    #expect(try await answer.status == 201)
    #expect(try await commands.process.wait() == 0)
  }

  /// The number of assignments of each living worker.
  private func shares(_ database: PostgresConnection) async throws -> [Int] {
    try await database.query(
      """
      select count(*) from projections.checkpoints c join projections.workers w on w.id = c.owner
      where w.expires_at > clock_timestamp() group by w.id order by 1
      """
    ).decode(Int.self)
  }

  @Test(
    "A standby relay and the other projector take over from killed ones", .freshStores,
    .freshVirtualHost)
  func takeover() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let (firstRelay, firstProjector) = (try await system.startReady(.relay), try await system.startReady(.projector))
    let secondRelay = try await system.startReady(.relay)
    try await system.startReady(.projector)
    let queries = try await system.startReady(.queryService)
    _ = try await commands.http.post("/v1/products", lantern)
    #expect(try await queries.http.get("/v1/products/LANTERN", until: 200).status == 200)
    let database = try await FreshDatabase.readStore.connect()
    // Five read models with 16 partitions each.
    try await eventually("they share the work") { try await shares(database) == [40, 40] }
    try await eventually("one relay stands by") { secondRelay.process.output.contains("standing by") }
    firstRelay.process.signal(SIGKILL)
    firstProjector.process.signal(SIGKILL)
    _ = try await commands.http.post("/v1/orders", ["orderId": "o", "lines": [["sku": "LANTERN", "quantity": 1]]])
    #expect(try await queries.http.get("/v1/orders/o", until: 200).status == 200)
    try await eventually("the relay is active") { secondRelay.process.output.contains("active now") }
    try await eventually("one has all the work") { try await shares(database) == [80] }
  }

  @Test(
    "A sleeping relay is replaced, and does no harm when it wakes up", .freshStores, .freshVirtualHost)
  func sleepingRelay() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let relays = [try await system.startReady(.relay), try await system.startReady(.relay)]
    // The heads are read so rarely that an early read must have come through the feed.
    let projector = try await system.startReady(.projector, settings: ["PROJECTION_HEAD_INTERVAL": "30"])
    let queries = try await system.startReady(.queryService)
    let database = try await FreshDatabase.readStore.connect()
    try await eventually("it has all assignments, and its queue is bound") {
      let shares = try await shares(database)
      let readiness = try await projector.http.get("/readyz").status
      return shares == [80] && readiness == 200
    }
    _ = try await commands.http.post("/v1/products", lantern)
    func order(_ n: Int) async throws {
      _ = try await commands.http.post(
        "/v1/orders", ["orderId": .string("o-\(n)"), "lines": [["sku": "LANTERN", "quantity": 1]]])
      #expect(try await queries.http.get("/v1/orders/o-\(n)", until: 200).status == 200)
    }
    try await order(0)
    try await eventually("one is active") { relays.contains { $0.process.output.contains("active now") } }
    let first = try #require(relays.firstIndex { $0.process.output.contains("active now") })
    let stopped = try await relays[first].process.suspend()
    try await eventually("the other is active") { relays[1 - first].process.output.contains("active now") }
    for n in 1..<5 { try await order(n) }
    ChildProcess.resume(stopped)
    for n in 5..<15 { try await order(n) }
    try await eventually("each is counted once") {
      try await database.query(
        "select coalesce(sum(applied), 0)::bigint from projections.applied where projection = 'orders'"
      ).value(Int.self) == 15
    }
  }

  @Test(
    "A projector that wakes up after its lease changes nothing it has lost, and gets a new share",
    .freshStores, .freshVirtualHost)
  func paused() async throws {
    let system = System(settings: ["LEASE_DURATION": "4"])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    try await system.startReady(.relay)
    let projectors = [try await system.startReady(.projector), try await system.startReady(.projector)]
    let queries = try await system.startReady(.queryService)
    _ = try await commands.http.post("/v1/products", lantern)
    let database = try await FreshDatabase.readStore.connect()
    func order(_ n: Int) async throws {
      _ = try await commands.http.post(
        "/v1/orders", ["orderId": .string("o-\(n)"), "lines": [["sku": "LANTERN", "quantity": 1]]])
      #expect(try await queries.http.get("/v1/orders/o-\(n)", until: 200).status == 200)
    }
    try await eventually("they share the work") { try await shares(database) == [40, 40] }
    let stopped = try await projectors[0].process.suspend()
    try await eventually("the other has all of it") { try await shares(database) == [80] }
    for n in 0..<10 { try await order(n) }
    ChildProcess.resume(stopped)
    for n in 10..<20 { try await order(n) }
    try await eventually("they share it again") { try await shares(database) == [40, 40] }
    for n in 20..<30 { try await order(n) }
    // Each event was counted once, by any projector.
    let applied = try await database.query(
      "select sum(applied)::bigint from projections.applied where projection = 'orders'"
    ).value(Int.self)
    #expect(applied == 30)
  }
}
