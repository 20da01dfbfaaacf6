import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Payment deadlines", .tags(.system), .needsServers)
struct PaymentDeadlineTests {
  private static let orders = 300

  @Test(
    "With reactors that are killed and suspended, every unpaid order is cancelled once, and no paid one",
    .freshStores, .freshVirtualHost)
  func cancelling() async throws {
    let system = System(settings: ["PAYMENT_DEADLINE": "6"])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    var reactors = [try await system.startReady(.reactor), try await system.startReady(.reactor)]
    let owner = try await FreshDatabase.current.connect()
    func count(_ type: String, _ condition: String = "true") async throws -> Int {
      try await owner.query(
        "select count(*) from event_store.events where type = \(type) and \(unescaped: condition)"
      ).value(Int.self)
    }
    try await eventually("the reaction has begun") {
      try await owner.query(
        "select count(*) from projections.checkpoints where projection = 'reaction/cancel-unpaid' and owner is not null"
      ).value(Int.self) == 16
    }
    func post(_ path: String, _ body: JSON) async throws {
      let answer = try await commands.http.post(path, body)
      #expect((200..<300).contains(answer.status), "\(path): \(answer.text)")
    }
    try await post("/v1/products", ["sku": "LAMP", "name": "Lamp", "unitPrice": 5, "tracksStock": true])
    try await post("/v1/products/LAMP/stock/receipts", ["quantity": .integer(Int64(Self.orders))])
    for number in 0..<Self.orders {
      try await post("/v1/orders", ["orderId": .string("o\(number)"), "lines": [["sku": "LAMP", "quantity": 1]]])
      if number % 2 == 0 { try await post("/v1/orders/o\(number)/payment", ["amount": 5]) }
      switch number {
      case 60, 240:
        reactors[0].process.signal(SIGKILL)
        reactors = [reactors[1], try await system.start(.reactor)]
      case 150:
        let stopped = try await reactors[0].process.suspend()
        reactors.append(try await system.start(.reactor))
        try await eventually("the others carry deadlines out") {
          try await owner.query(
            "select expires_at > clock_timestamp() + interval '1 second' from event_store.leases where name like 'deadlines/%'"
          ).value(Bool?.self) == true
        }
        ChildProcess.resume(stopped)
      default: break
      }
    }
    try await eventually("each unpaid order is cancelled") { try await count("OrderCancelled") >= Self.orders / 2 }
    try await eventually("no deadline is left") {
      try await owner.query("select count(*) from event_store.deadlines").value(Int.self) == 0
    }
    #expect(try await count("OrderCancelled") == Self.orders / 2)
    #expect(try await count("OrderCancelled", "data ->> 'reason' = 'paymentOverdue'") == Self.orders / 2)
    #expect(try await count("StockReleased") == Self.orders / 2)
    let wrong = try await owner.query(
      """
      select count(*) from event_store.events c join event_store.events p on p.stream = c.stream and p.type = 'OrderPaid'
      where c.type = 'OrderCancelled'
      """
    ).value(Int.self)
    #expect(wrong == 0)
    let early = try await owner.query(
      """
      select count(*) from event_store.events c join event_store.events p on p.stream = c.stream and p.type = 'OrderPlaced'
      where c.type = 'OrderCancelled' and c.recorded_at < p.recorded_at + interval '6 seconds'
      """
    ).value(Int.self)
    #expect(early == 0)
    let status = try system.run("counterflow", ["verify", "reaction/cancel-unpaid"])
    #expect(try await status.wait() == 0, "\(status.output)")
  }
}
