import EventLoop
import EventSourcing
import Foundation
import JSON
import Postgres
import PostgresEventStore
import Projections
import RabbitMQ
import RabbitMQFeed
import ServiceLifecycle
import TestSupport
import Testing

@Suite("Integration feed", .tags(.integration), .needsServers)
struct IntegrationFeedTests {
  /// Consumes messages from the queue until there are `count`.
  private func take(_ count: Int, from queue: String, on connection: RabbitMQConnection) async throws -> [JSON] {
    let events = Taken()
    let taking = Task {
      for try await delivery in try await connection.consume(queue: queue, prefetch: 100) {
        await events.add(try JSON(parsing: delivery.body))
        try await connection.acknowledge(delivery.deliveryTag)
        if await events.all.count == count { break }
      }
    }
    try await eventually("\(count) events are taken") { await events.all.count >= count }
    try await taking.value
    // This also closes its consumer, which would take more messages.
    await connection.close()
    return await events.all
  }

  private actor Taken {
    var all: [JSON] = []
    func add(_ event: JSON) { all.append(event) }
  }

  private func queue(
    on connection: RabbitMQConnection, key: String = "#", arguments: [String: FieldValue] = [:]
  ) async throws -> String {
    try await connection.declare(IntegrationFeed.exchange)
    let name = "mine-\(UUID().uuidString)"
    _ = try await connection.declare(
      Queue(name, arguments: arguments.merging(["x-queue-type": "quorum"]) { $1 }))
    try await connection.bind(queue: name, to: IntegrationFeed.exchange.name, routingKey: key)
    return name
  }

  @Test(
    "Every event arrives as a CloudEvent in order, and the next relay continues from the cursor", .freshVirtualHost,
    .freshDatabase(eventStoreSchema))
  func feed() async throws {
    let engine = Engine()
    let connection = try await FreshVirtualHost.current.connect()
    let name = try await queue(on: connection)
    try await engine.append(30)
    try await withServices([engine.relay(integrating: true)]) {
      let events = try await take(30, from: name, on: connection)
      #expect(events.map { $0["position"]?.string } == (1...30).map { "\($0)" })
      let first = events[0]
      #expect(first["specversion"] == "1.0" && first["type"] == "Happened" && first["subject"] == "thing-0")
      #expect(first["streamversion"] == "1" && first["source"] == "/counterflow" && first["data"] == [:])
      #expect(Timestamp(first["time"]?.string ?? "") != nil)
      #expect(UUID(uuidString: first["id"]?.string ?? "") != nil)
      try await eventually("the cursor stands at the end") {
        try await engine.pool.query("select position from event_store.cursors").value(Int.self) == 30
      }
    }
    try await engine.append(10)
    let again = try await FreshVirtualHost.current.connect()
    try await withServices([engine.relay(integrating: true)]) {
      let rest = try await take(10, from: name, on: again)
      #expect(rest.first?["position"] == "31")
    }
  }

  @Test(
    "The largest event that the store accepts comes through both feeds", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func largest() async throws {
    let engine = Engine()
    let connection = try await FreshVirtualHost.current.connect()
    let name = try await queue(on: connection)
    let projector = engine.projector(headInterval: .seconds(3600))
    try await withServices([engine.relay(integrating: true), projector]) {
      try await engine.expectFeed(of: projector)
      var rounds = 0
      try await engine.expectFlow(&rounds)
      let text = String(repeating: "x", count: PostgresEventStore.maximumEventSize - 4)
      let events = (0..<20).map { n in
        NewEvent(
          stream: StreamID(rawValue: "thing-\(n)"), id: .v7(), type: "Happened", schemaVersion: 1,
          data: Array((n == 7 ? "\"\(text)\"" : "{}").utf8), metadata: Array("{}".utf8))
      }
      _ = try await engine.store.append(AppendBatch(expectedVersions: [:], events: events))
      rounds += 1
      // Later events arrive too.
      try await engine.expectFlow(&rounds)
      try await engine.expectComplete(of: rounds)
      let taken = try await take(rounds * 20, from: name, on: connection)
      #expect(taken.contains { $0["data"]?.string?.utf8.count == text.utf8.count })
    }
  }

  @Test(
    "A queue that refuses messages delays only the integration feed, and loses nothing", .freshVirtualHost,
    .freshDatabase(eventStoreSchema, projectionsSchema, tables))
  func refusal() async throws {
    let engine = Engine()
    let connection = try await FreshVirtualHost.current.connect()
    let name = try await queue(
      on: connection, arguments: ["x-max-length": 5, "x-overflow": "reject-publish"])
    let projector = engine.projector(headInterval: .seconds(3600))
    try await withServices([engine.relay(integrating: true), projector]) {
      try await engine.expectFeed(of: projector)
      var rounds = 0
      try await engine.expectFlow(&rounds)
      for _ in 0..<5 { try await engine.append(100) }
      // The read tables have all events, through the live feed alone.
      try await engine.expectComplete(of: rounds + 25)
      let head = try await engine.store.head()
      let cursor = try await engine.pool.query("select position from event_store.cursors").value(Int64.self)
      #expect(cursor < head.rawValue)
      // At least once: messages from before the refusal are sent again.
      let taken = Taken()
      let taking = Task {
        for try await delivery in try await connection.consume(queue: name, prefetch: 5) {
          await taken.add(try JSON(parsing: delivery.body))
          try await connection.acknowledge(delivery.deliveryTag)
        }
      }
      try await eventually("all is taken") {
        Set(await taken.all.map { $0["position"]?.string ?? "" }).count == Int(head.rawValue)
      }
      await connection.close()
      try? await taking.value
      try await eventually("the cursor stands at the end") {
        try await engine.pool.query("select position from event_store.cursors").value(Int64.self) == head.rawValue
      }
    }
  }

  @Test(
    "After a restore the feed continues from the restored position with the new history id", .freshVirtualHost,
    .freshDatabase(eventStoreSchema))
  func restore() async throws {
    let engine = Engine()
    let connection = try await FreshVirtualHost.current.connect()
    let name = try await queue(on: connection)
    try await engine.append(20)
    try await withServices([engine.relay(integrating: true)]) {
      let before = try await take(20, from: name, on: connection)
      // The same state as after a restore to position 15.
      try await engine.pool.query(
        "update event_store.identity set history_id = gen_random_uuid(), restored_position = 15")
      let again = try await FreshVirtualHost.current.connect()
      let after = try await take(5, from: name, on: again)
      #expect(after.map { $0["position"]?.string } == (16...20).map { "\($0)" })
      #expect(after[0]["historyid"] != before[0]["historyid"])
    }
  }

  @Test(
    "Examples/consume_events.py takes events from a quorum queue with a dead-letter queue",
    .freshVirtualHost, .freshDatabase(eventStoreSchema))
  func example() async throws {
    let engine = Engine()
    let script = TestEnvironment.root.appendingPathComponent("Examples/consume_events.py")
    let consumer = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/python3"), [script.path, "3"],
      environment: ["AMQP_URL": FreshVirtualHost.current.url])
    try await withServices([engine.relay(integrating: true)]) {
      var placed = 0
      // Its queue does not get events from before it existed.
      try await eventually("it has taken three") {
        placed += 1
        let events = ["OrderPlaced", "OrderCancelled"].map { type in
          NewEvent(
            stream: StreamID(rawValue: "order-\(placed)"), id: .v7(), type: type, schemaVersion: 1,
            data: Array(#"{"n":1}"#.utf8), metadata: Array("{}".utf8))
        }
        _ = try await engine.store.append(AppendBatch(expectedVersions: [:], events: events))
        try await Task.sleep(for: .milliseconds(100))
        return !consumer.isRunning
      }
      let status = try await consumer.wait()
      #expect(status == 0, "\(consumer.output)")
      #expect(consumer.output.contains(#"{"n": 1}"#), "\(consumer.output)")
      #expect(consumer.output.contains("OrderCancelled order-"), "\(consumer.output)")
    }
  }
}
