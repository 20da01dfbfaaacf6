import Foundation
import JSON
import Postgres
import TestSupport
import Testing

/// One store has its own server, which fails or is restored while the other store runs.
@Suite("Stores on two servers", .tags(.system), .needsServers)
struct StoreServerTests {
  private struct Shop {
    let system: System
    let commands: RunningService
    let relay: RunningService
    let projector: RunningService
    let queries: RunningService

    init(_ system: System) async throws {
      self.system = system
      try await system.migrate()
      commands = try await system.startReady(.commandService)
      relay = try await system.startReady(.relay)
      projector = try await system.startReady(.projector)
      queries = try await system.startReady(.queryService)
      try await system.startReady(.reactor)
      let product: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]
      #expect(try await commands.http.post("/v1/products", product).status == 201)
    }

    /// Places orders, each of which must succeed at the first attempt.
    func order(_ ids: [String], from service: RunningService? = nil) async throws {
      for id in ids {
        let order: JSON = ["orderId": .string(id), "lines": [["sku": "LANTERN", "quantity": 1]]]
        #expect(try await (service ?? commands).http.post("/v1/orders", order).status == 201, "\(id)")
      }
    }

    func expectReads(_ ids: [String]) async throws {
      for id in ids { #expect(try await queries.http.get("/v1/orders/\(id)", until: 200).json["total"] == 300) }
    }

    func counterflow(_ arguments: String...) async throws -> (status: Int32, output: String) {
      let process = try system.run("counterflow", arguments)
      return (try await process.wait(), process.output)
    }

    func expectSound() async throws {
      try await eventually("the status is sound") { try await counterflow("status").status == 0 }
      let verified = try await counterflow("verify")
      #expect(verified.status == 0, "\(verified.output)")
    }
  }

  private func ids(_ prefix: String) -> [String] { (0..<10).map { "\(prefix)-\($0)" } }

  @Test(
    "A dead read store blocks no command, and catches up when it is back", .freshStores,
    .freshVirtualHost)
  func lostReadStore() async throws {
    let server = try PrivateServer(.postgres)
    let shop = try await Shop(System(readURL: try await server.url()))
    try await shop.order(ids("before"))
    try await shop.expectReads(ids("before"))

    server.process.signal(SIGKILL)
    try await server.process.wait()
    try await shop.order(ids("during"))
    try await eventually("queries say that they cannot answer") {
      try await shop.queries.http.get("/v1/orders/before-0").status == 503
    }
    try await eventually("the projector says so") { await !shop.projector.isReady() }
    #expect(await shop.commands.isReady())
    #expect(await shop.relay.isReady())

    _ = try PrivateServer(.postgres, inPlaceOf: server)
    try await shop.order(ids("after"))
    try await shop.expectReads(ids("before") + ids("during") + ids("after"))
    try await shop.expectSound()
  }

  @Test("A hung read store blocks no command, and queries fail in time", .freshStores, .freshVirtualHost)
  func hangingReadStore() async throws {
    let server = try PrivateServer(.postgres)
    let shop = try await Shop(System(readURL: try await server.url()))
    try await shop.order(ids("before"))
    try await shop.expectReads(ids("before"))

    // Its connections stay open, and nothing answers.
    let stopped = try await server.process.suspend()
    try await shop.order(ids("during"))
    try await eventually("queries say that they cannot answer") {
      try await shop.queries.http.get("/v1/orders/before-0").status == 503
    }
    #expect(await shop.commands.isReady())
    ChildProcess.resume(stopped)
    try await shop.expectReads(ids("before") + ids("during"))
    try await shop.expectSound()
  }

  @Test("A read store that is restored to an earlier time catches up by itself", .freshStores, .freshVirtualHost)
  func restoredReadStore() async throws {
    let first = try PrivateServer(.postgres)
    let shop = try await Shop(System(readURL: try await first.url()))
    try await shop.order(ids("before"))
    try await shop.expectReads(ids("before"))
    try await first.stop()
    try await first.backUp()

    let second = try PrivateServer(.postgres, inPlaceOf: first)
    try await shop.order(ids("lost"))
    try await shop.expectReads(ids("lost"))
    try await second.stop()
    try await second.restore()

    _ = try PrivateServer(.postgres, inPlaceOf: second)
    try await shop.order(ids("after"))
    try await shop.expectReads(ids("before") + ids("lost") + ids("after"))
    try await shop.expectSound()
  }

  @Test(
    "After a restore of the write store is declared, rebuilt read models match it",
    .freshStores, .freshVirtualHost)
  func restoredWriteStore() async throws {
    let first = try PrivateServer(.postgres)
    let shop = try await Shop(
      System(writeURL: try await first.url(), readURL: FreshDatabase.readStore.url))
    try await shop.order(ids("before"))
    try await shop.expectReads(ids("before"))
    try await first.stop()
    try await first.backUp()

    let second = try PrivateServer(.postgres, inPlaceOf: first)
    try await shop.commands.becomesReady()
    try await shop.order(ids("lost"))
    try await shop.expectReads(ids("lost"))
    // As docs/operations.md describes.
    for service in [shop.commands, shop.relay] {
      service.process.signal(SIGTERM)
      try await service.process.wait()
    }
    try await second.stop()
    try await second.restore()
    _ = try PrivateServer(.postgres, inPlaceOf: second)
    let finished = try await shop.counterflow("restore-finished")
    #expect(finished.status == 0, "\(finished.output)")

    let commands = try await shop.system.startReady(.commandService)
    try await shop.system.startReady(.relay)
    try await eventually("every read model has stopped") {
      let status = try await shop.counterflow("status")
      return status.status == 1 && status.output.contains("16 forked")
    }
    for projection in ["orders", "catalogue", "customers", "returns", "sales"] {
      let rebuilt = try await shop.counterflow("rebuild", projection)
      #expect(rebuilt.status == 0, "\(rebuilt.output)")
      #expect(try await shop.counterflow("rebuild", projection, "--discard", "1").status == 0)
    }
    try await shop.order(ids("after"), from: commands)
    try await shop.expectReads(ids("before") + ids("after"))
    for id in ids("lost") { #expect(try await shop.queries.http.get("/v1/orders/\(id)").status == 404) }
    try await shop.expectSound()
  }
}
