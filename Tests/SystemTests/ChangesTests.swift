import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("The stream of changes", .tags(.system), .needsServers)
struct ChangesTests {
  /// A server-sent event.
  private struct Message: Equatable {
    let id: String
    let event: String
    let data: JSON

    static func all(in text: String) -> [Message] {
      text.components(separatedBy: "\n\n").compactMap { block in
        var fields: [String: String] = [:]
        for line in block.split(separator: "\n") {
          let parts = line.split(separator: ":", maxSplits: 1)
          if parts.count == 2 { fields[String(parts[0])] = parts[1].trimmingCharacters(in: .whitespaces) }
        }
        guard let id = fields["id"], let event = fields["event"], let data = fields["data"] else { return nil }
        return Message(id: id, event: event, data: (try? JSON(parsing: Array(data.utf8))) ?? .null)
      }
    }
  }

  @Test(
    "Changes arrive once they are readable, each once and in order, also after a restart",
    .freshStores, .freshVirtualHost)
  func following() async throws {
    let system = System(settings: ["CHANGES_MAX_CLIENTS": "2"])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    try await system.startReady([.relay, .projector])
    var queries = try await system.startReady(.queryService)
    let product: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]
    let registered = try await commands.http.post("/v1/products", product)
    let token = ["Consistency-Token": registered.headers["consistency-token"]!, "Prefer": "wait=30"]
    #expect(try await queries.http.send("GET", "/v1/products/LANTERN", headers: token).status == 200)

    let (base, curl) = (queries.http.base, URL(fileURLWithPath: "/usr/bin/curl"))
    // Retries a 503, as a client should.
    let follow = ["-sfN", "--retry", "100", "--retry-delay", "1"]
    let all = try ChildProcess(curl, follow + ["\(base)/v1/changes"])
    let some = try ChildProcess(curl, follow + ["\(base)/v1/changes?types=OrderPaid,ProductPriceChanged"])
    try await eventually("both follow") { all.output.contains("retry") && some.output.contains("retry") }
    let refused = try await queries.http.send("GET", "/v1/changes")
    #expect(refused.status == 503 && refused.headers["retry-after"] != nil)
    // Such refusals can be many, so they are not logged and have no request id.
    #expect(refused.json["requestId"] == nil)

    for index in 1...30 {
      let order: JSON = ["orderId": .string("o-\(index)"), "lines": [["sku": "LANTERN", "quantity": 1]]]
      #expect(try await commands.http.post("/v1/orders", order).status == 201)
      if index % 10 == 0 {
        #expect(try await commands.http.post("/v1/orders/o-\(index)/payment", ["amount": 300]).status == 200)
      }
    }
    try await eventually("all came") {
      Message.all(in: all.output).last?.data["position"] == 34 && Message.all(in: some.output).count == 3
    }
    // The follower may or may not get the product's event, depending on when it started.
    let messages = Message.all(in: all.output).filter { $0.data["position"] != 1 }
    #expect(messages.map { $0.data["position"] } == (2...34).map { .integer($0) })
    #expect(Message.all(in: some.output).map(\.event) == ["OrderPaid", "OrderPaid", "OrderPaid"])
    #expect(
      messages[9].event == "OrderPlaced" && messages[9].data["id"] == "o-10" && messages[9].data["subject"] == "order")
    // A query sees the change already.
    #expect(try await queries.http.get("/v1/orders/o-30").json["status"] == "paid")

    // The process ends. Followers continue at another process from their last id.
    queries.process.signal(SIGTERM)
    #expect(try await queries.process.wait() == 0)
    try await all.wait()
    queries = try await system.startReady(.queryService)
    let later = try await commands.http.post("/v1/orders/o-1/cancellation", [:])
    #expect(later.status == 200)
    let last = ["Last-Event-ID": messages[29].id]
    try await eventually("the rest comes") {
      let rest = try await queries.http.stream("/v1/changes", headers: last, seconds: 1)
      return Message.all(in: rest.text).map { $0.data["position"] } == (32...35).map { .integer($0) }
    }
    try await eventually("the order's own comes") {
      let one = try await queries.http.stream("/v1/orders/o-1/changes", headers: last, seconds: 1)
      return Message.all(in: one.text).map(\.event) == ["OrderCancelled"]
    }
    for (wrong, status) in [("x", 400), ("1", 400), ("-1-abc", 400), ("5-00000000", 409)] {
      #expect(try await queries.http.send("GET", "/v1/changes", headers: ["Last-Event-ID": wrong]).status == status)
    }
  }

  @Test(
    "A follower of one order gets its position regularly, and misses nothing after reconnecting",
    .freshStores, .freshVirtualHost)
  func place() async throws {
    let system = System(settings: ["CHANGES_HEARTBEAT": "1"])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    try await system.startReady([.relay, .projector])
    let queries = try await system.startReady(.queryService)
    let product: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]
    #expect(try await commands.http.post("/v1/products", product).status == 201)
    let order: JSON = ["orderId": "mine", "lines": [["sku": "LANTERN", "quantity": 1]]]
    let placed = try await commands.http.post("/v1/orders", order)
    let token = ["Consistency-Token": placed.headers["consistency-token"]!, "Prefer": "wait=30"]
    #expect(try await queries.http.send("GET", "/v1/orders/mine", headers: token).status == 200)

    let curl = URL(fileURLWithPath: "/usr/bin/curl")
    let path = "\(queries.http.base)/v1/orders/mine/changes"
    func ids(_ follower: ChildProcess) -> [String] {
      follower.output.split(separator: "\n").filter { $0.hasPrefix("id: ") }.map { String($0.dropFirst(4)) }
    }
    let follower = try ChildProcess(curl, ["-sfN", path])
    try await eventually("the follower gets its first position") { !ids(follower).isEmpty }
    // Places other orders all the time, more often than heartbeats are sent.
    let others = Task {
      for number in 1... {
        let other: JSON = ["orderId": .string("other-\(number)"), "lines": [["sku": "LANTERN", "quantity": 1]]]
        guard !Task.isCancelled else { break }
        _ = try await commands.http.post("/v1/orders", other)
      }
    }
    try await eventually("the follower gets heartbeats") { ids(follower).count >= 4 }
    others.cancel()
    _ = await others.result
    follower.signal(SIGKILL)
    try await follower.wait()
    // The follower may have started just before the order was placed.
    #expect(Message.all(in: follower.output).allSatisfy { $0.event == "OrderPlaced" })
    let positions = ids(follower).compactMap { $0.split(separator: "-").first.flatMap { Int($0) } }
    #expect(positions == positions.sorted() && positions.last! > positions[0])

    // A change while the follower is away.
    #expect(try await commands.http.post("/v1/orders/mine/payment", ["amount": 300]).status == 200)
    let again = try ChildProcess(curl, ["-sfN", "-H", "Last-Event-ID: \(ids(follower).last!)", path])
    try await eventually("it comes") { Message.all(in: again.output).map(\.event) == ["OrderPaid"] }
  }
}
