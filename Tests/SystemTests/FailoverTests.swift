import Foundation
import JSON
import Observability
import Postgres
import Synchronization
import TestSupport
import Testing

/// The write store's server dies, and a standby takes over.
@Suite("Failover of the write store", .tags(.system), .needsServers)
struct FailoverTests {
  /// A primary with a standby, and a URL that leads to whichever of them takes writes.
  private final class Pair: Sendable {
    let primary: PrivateServer
    let standby: PrivateServer
    let url: String
    let primaryURL: String
    private let standbyURL: String

    init() async throws {
      primary = try PrivateServer(.postgres)
      let primaryURL = try await primary.url()
      self.primaryURL = primaryURL
      try await eventually("the primary answers") { (try? await Self.query("select 1", at: primaryURL)) != nil }
      standby = try PrivateServer(.standby, settings: ["PRIMARY_URL": primaryURL])
      standbyURL = try await standby.url()
      let port = try #require(URLComponents(string: primaryURL)?.port)
      let other = try #require(URLComponents(string: standbyURL)?.port)
      url =
        primaryURL.replacingOccurrences(of: "127.0.0.1:\(port)", with: "127.0.0.1:\(port),127.0.0.1:\(other)")
        + "?target_session_attrs=read-write"
      try await eventually("the standby follows") {
        try await onPrimary("select count(*) from pg_stat_replication").value(Int.self) == 1
      }
    }

    func onPrimary(_ query: Query) async throws -> ResultSet { try await Self.query(query, at: primaryURL) }
    func onStandby(_ query: Query) async throws -> ResultSet { try await Self.query(query, at: standbyURL) }

    private static func query(_ query: Query, at url: String) async throws -> ResultSet {
      let connection = try await PostgresConnection.connect(PostgresConfiguration(url: url))
      let result = try await connection.query(query)
      await connection.close()
      return result
    }

    func makeSynchronous() async throws {
      _ = try await onPrimary("alter system set synchronous_standby_names = '*'")
      _ = try await onPrimary("select pg_reload_conf()")
      try await eventually("commits wait for the standby") {
        try await onPrimary("select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')")
          .value(Int.self) == 1
      }
    }

    func killPrimary() async throws {
      primary.process.signal(SIGKILL)
      try await primary.process.wait()
    }

    func promote() async throws {
      #expect(try await onStandby("select pg_promote()").value(Bool.self))
    }
  }

  private final class Load: Sendable {
    let placed = Mutex<[String]>([])
    let isOver = Mutex(false)
  }

  private static func order(_ id: String) -> JSON {
    ["orderId": .string(id), "lines": [["sku": "LANTERN", "quantity": 1]]]
  }

  private let product: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]

  @Test(
    "After a switch to a synchronous standby everything goes on by itself, and nothing is lost", .freshStores,
    .freshVirtualHost)
  func synchronous() async throws {
    let pair = try await Pair()
    try await pair.makeSynchronous()
    let system = System(writeURL: pair.url, readURL: FreshDatabase.readStore.url)
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    var services = [commands]
    for service in [System.Service.relay, .projector, .reactor] {
      services.append(try await system.startReady(service))
    }
    let queries = try await system.startReady(.queryService)
    #expect(try await commands.http.post("/v1/products", product).status == 201)

    let load = Load()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for client in 0..<4 {
        group.addTask {
          var number = 0
          while !load.isOver.withLock({ $0 }) {
            let id = "c\(client)-\(number)"
            let answer = try? await commands.http.send(
              "POST", "/v1/orders", body: Self.order(id).encoded, headers: ["Idempotency-Key": id])
            // Without an answer the same request is sent again: nothing signals that a server is back.
            guard answer?.status == 201 else {
              try await Task.sleep(for: .milliseconds(20))
              continue
            }
            load.placed.withLock { $0.append(id) }
            number += 1
          }
        }
      }
      try await eventually("orders are placed") { load.placed.withLock { $0.count } > 100 }
      try await pair.killPrimary()
      try await pair.promote()
      let promoted = ContinuousClock.now
      let before = load.placed.withLock { $0.count }
      try await eventually("commands go on") { load.placed.withLock { $0.count } > before + 4 }
      print("FailoverTests: orders again \(ContinuousClock.now - promoted) after the promotion")
      try await eventually("the load goes on") { load.placed.withLock { $0.count } > before + 200 }
      load.isOver.withLock { $0 = true }
      try await group.waitForAll()
    }
    let ids = load.placed.withLock { $0 }
    for id in ids { #expect(try await queries.http.get("/v1/orders/\(id)", until: 200).json["total"] == 300) }
    var recognised = 0.0
    for service in services {
      recognised +=
        Exposition(try await service.http.get("/metrics").text).sum("counterflow_store_failovers_total") ?? 0
    }
    #expect(recognised > 0)
    let verified = try system.run("counterflow", ["verify"])
    #expect(try await verified.wait() == 0, "\(verified.output)")
    try await eventually("the status is sound") { try await system.run("counterflow", ["status"]).wait() == 0 }
  }

  @Test(
    "After a switch to a standby that lost events everything stops until that is declared", .freshStores,
    .freshVirtualHost)
  func behind() async throws {
    let pair = try await Pair()
    let system = System(writeURL: pair.url, readURL: FreshDatabase.readStore.url)
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    // It writes nothing, and knows only what it has looked at.
    let idle = try await system.startReady(.commandService)
    try await system.startReady(.relay)
    try await system.startReady(.projector)
    #expect(try await commands.http.post("/v1/products", product).status == 201)
    #expect(try await commands.http.post("/v1/orders", Self.order("kept")).status == 201)
    try await eventually("the standby has both") {
      try await pair.onStandby("select count(*) from event_store.events").value(Int.self)
        == pair.onPrimary("select count(*) from event_store.events").value(Int.self)
    }
    try await pair.standby.stop()
    #expect(try await commands.http.post("/v1/orders", Self.order("lost")).status == 201)
    try await pair.killPrimary()
    let standby = try PrivateServer(.standby, inPlaceOf: pair.standby, settings: ["PRIMARY_URL": pair.primaryURL])
    try await eventually("the standby answers") { (try? await pair.onStandby("select 1")) != nil }
    try await pair.promote()
    // It has appended what is lost, and misses it at its next append if no process has missed it before.
    try await eventually("the loss is on record") {
      #expect(try await commands.http.post("/v1/orders", Self.order("no")).status >= 500)
      return try await pair.onStandby("select lost_event is not null from event_store.identity").value(Bool.self)
    }
    let head = try await pair.onStandby("select max(position) from event_store.events").value(Int64.self)
    for service in [commands, idle] {
      for number in 0..<5 {
        #expect(try await service.http.post("/v1/orders", Self.order("no-\(number)")).status >= 500)
      }
    }
    #expect(try await pair.onStandby("select max(position) from event_store.events").value(Int64.self) == head)

    let lossless = try system.run("counterflow", ["restore-finished", "--nothing-lost"])
    #expect(try await lossless.wait() != 0)
    let finished = try system.run("counterflow", ["restore-finished"])
    #expect(try await finished.wait() == 0, "\(finished.output)")
    try await eventually("commands go on") { try await idle.http.post("/v1/orders", Self.order("after")).status == 201 }
    _ = standby
  }
}
