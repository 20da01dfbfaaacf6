import Foundation
import RabbitMQ
import TestSupport
import Testing

func message(_ key: String, _ body: [UInt8] = [1], exchange: String = "") -> Message {
  Message(exchange: exchange, routingKey: key, body: body)
}

@Suite("Broker", .tags(.integration), .needsServers)
struct BrokerTests {
  @Test("A message of any size is received as it was sent", .freshVirtualHost)
  func roundTrip() async throws {
    let (publisher, consumer) = (
      try await FreshVirtualHost.current.connect(), try await FreshVirtualHost.current.connect()
    )
    try await consumer.declare(Exchange("things", .topic))
    let queue = try await consumer.declare(Queue(isExclusive: true))
    try await consumer.bind(queue: queue.name, to: "things", routingKey: "a.#")
    let bodies: [[UInt8]] = [
      [], [0, 255, 0], Array(repeating: 7, count: 131_072), (0..<3_000_000).map { UInt8($0 & 255) },
    ]
    let headers: [String: FieldValue] = [
      "text": "ünï", "count": 9_000_000_000, "flag": true, "table": .table(["inner": "x"]),
    ]
    let confirmations = try await publisher.publish(
      bodies.map { body in
        Message(
          exchange: "things", routingKey: "a.b.c", body: body, contentType: "application/octet-stream", type: "Thing",
          messageID: "id-\(body.count)", headers: headers)
      })
    #expect(confirmations == Array(repeating: .accepted, count: bodies.count))
    var deliveries = try await consumer.consume(queue: queue.name, prefetch: 10).makeAsyncIterator()
    for body in bodies {
      let delivery = try #require(try await deliveries.next())
      #expect(delivery.body == body)
      #expect(delivery.exchange == "things" && delivery.routingKey == "a.b.c" && !delivery.isRedelivered)
      #expect(delivery.properties.headers == headers)
      #expect(delivery.properties.contentType == "application/octet-stream")
      #expect(delivery.properties.type == "Thing" && delivery.properties.messageID == "id-\(body.count)")
      try await consumer.acknowledge(delivery.deliveryTag)
    }
  }

  @Test("The broker confirms thousands of messages while more are sent", .freshVirtualHost)
  func pipelinedConfirms() async throws {
    let connection = try await FreshVirtualHost.current.connect()
    try await connection.declare(Queue("q"))
    try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<100 {
        group.addTask {
          let outcomes = try await connection.publish((0..<100).map { _ in message("q") })
          return outcomes.count { $0 == .accepted }
        }
      }
      var accepted = 0
      for try await count in group { accepted += count }
      #expect(accepted == 10_000)
    }
    let other = try await FreshVirtualHost.current.connect()
    #expect(try await other.declare(Queue("q")).messageCount == 10_000)
  }

  @Test("In one batch, each unroutable message is returned and each one for a full queue is refused", .freshVirtualHost)
  func returnsAndRefusals() async throws {
    let connection = try await FreshVirtualHost.current.connect()
    try await connection.declare(
      Queue("full", arguments: ["x-max-length": 1, "x-overflow": "reject-publish"]))
    try await connection.declare(Queue("free"))
    var silent = message("nowhere")
    silent.isMandatory = false
    let confirmations = try await connection.publish([
      message("full"), message("nowhere"), message("free"), message("full"), silent,
    ])
    #expect(confirmations.count == 5)
    #expect(confirmations[0] == .accepted)
    #expect(confirmations[1] == .returned(reply: 312, text: "NO_ROUTE"))
    #expect(confirmations[2] == .accepted)
    #expect(confirmations[3] == .refused)
    #expect(confirmations[4] == .accepted)
  }

  @Test("Redeclaring with other properties, or using what does not exist, fails with AMQP's code", .freshVirtualHost)
  func refusals() async throws {
    func expect(_ code: RabbitMQError.Code, _ body: (RabbitMQConnection) async throws -> Void) async throws {
      let connection = try await FreshVirtualHost.current.connect()
      await #expect { try await body(connection) } throws: { ($0 as? RabbitMQError)?.code == code }
      #expect(connection.isUsable == false)
    }
    try await FreshVirtualHost.current.connect().declare(Queue("q"))
    try await expect(.refused(reply: 406)) { try await $0.declare(Queue("q", isDurable: false)) }
    try await expect(.refused(reply: 404)) { try await $0.bind(queue: "q", to: "missing", routingKey: "") }
    try await expect(.refused(reply: 404)) { _ = try await $0.consume(queue: "missing", prefetch: 1) }
    try await expect(.refused(reply: 404)) { _ = try await $0.publish([message("k", exchange: "missing")]) }
    let holder = try await FreshVirtualHost.current.connect()
    try await holder.declare(Queue("mine", isExclusive: true))
    try await expect(.refused(reply: 405)) { try await $0.declare(Queue("mine", isExclusive: true)) }
  }

  @Test("A wrong URL, an unreachable broker and a wrong password fail without showing the password")
  func connecting() async throws {
    func code(_ url: String) async -> RabbitMQError.Code? {
      do { _ = try await RabbitMQConnection.connect(RabbitMQConfiguration(url: url)) } catch {
        #expect(!"\(error)".contains("sesame"))
        return error.code
      }
      return nil
    }
    #expect(await code("http://a:sesame@b") == .invalidURL)
    #expect(await code("amqp://a:sesame@127.0.0.1:1/%2F") == .connectionFailed)
    #expect(await code("amqp://a:sesame@\(FreshVirtualHost.broker)/%2F") == .connectionFailed)
  }

  @Test("Unacknowledged deliveries stay within the prefetch, and one acknowledgement covers many", .freshVirtualHost)
  func prefetch() async throws {
    let (publisher, consumer) = (
      try await FreshVirtualHost.current.connect(), try await FreshVirtualHost.current.connect()
    )
    try await publisher.declare(Queue("q"))
    _ = try await publisher.publish((0..<10).map { message("q", [UInt8($0)]) })
    var deliveries = try await consumer.consume(queue: "q", prefetch: 4).makeAsyncIterator()
    var last: UInt64 = 0
    for n in 0..<4 {
      let delivery = try #require(try await deliveries.next())
      #expect(delivery.body == [UInt8(n)])
      last = delivery.deliveryTag
    }
    let observer = try await FreshVirtualHost.current.connect()
    #expect(try await observer.declare(Queue("q")).messageCount == 6)
    try await consumer.acknowledge(last, multiple: true)
    for n in 4..<8 { #expect(try await deliveries.next()?.body == [UInt8(n)]) }
    await consumer.close()
    try await eventually("what was not acknowledged is back") {
      try await observer.declare(Queue("q")).messageCount == 6
    }
    let again = try await FreshVirtualHost.current.connect()
    var redelivered = try await again.consume(queue: "q", prefetch: 1).makeAsyncIterator()
    let first = try #require(try await redelivered.next())
    #expect(first.isRedelivered && first.body == [4])
    try await again.reject(first.deliveryTag, requeue: false)
    #expect(try await redelivered.next()?.body == [5])
  }

  @Test("A consumer gets an error when its queue is deleted", .freshVirtualHost)
  func deletedQueue() async throws {
    let (consumer, other) = (try await FreshVirtualHost.current.connect(), try await FreshVirtualHost.current.connect())
    try await other.declare(Queue("q"))
    let deliveries = try await consumer.consume(queue: "q", prefetch: 1)
    try await other.delete(queue: "q")
    await #expect {
      for try await _ in deliveries {}
    } throws: { ($0 as? RabbitMQError)?.code == .consumerCancelled }
  }

  @Test("A purged queue is empty, and an unbound queue receives nothing more", .freshVirtualHost)
  func unbinding() async throws {
    let connection = try await FreshVirtualHost.current.connect()
    try await connection.declare(Exchange("things", .direct))
    try await connection.declare(Queue("q"))
    try await connection.bind(queue: "q", to: "things", routingKey: "k")
    #expect(try await connection.publish([message("k", exchange: "things")]) == [.accepted])
    try await connection.purge(queue: "q")
    #expect(try await connection.declare(Queue("q")).messageCount == 0)
    try await connection.unbind(queue: "q", from: "things", routingKey: "k")
    #expect(
      try await connection.publish([message("k", exchange: "things")]) == [.returned(reply: 312, text: "NO_ROUTE")])
  }

  @Test("An idle connection answers heartbeats", .freshVirtualHost)
  func heartbeats() async throws {
    var configuration = FreshVirtualHost.current.configuration
    configuration.heartbeat = .seconds(3)
    let connection = try await RabbitMQConnection.connect(configuration)
    // Without an answer the broker closes the connection after two to three intervals.
    try await Task.sleep(for: .seconds(12))
    try await connection.declare(Queue("q"))
    #expect(try await connection.publish([message("q")]) == [.accepted])
  }

  @Test("A publish that would exceed the limit of unconfirmed bytes fails before anything is sent", .freshVirtualHost)
  func limit() async throws {
    var configuration = FreshVirtualHost.current.configuration
    configuration.maximumInFlight = 1_000
    let connection = try await RabbitMQConnection.connect(configuration)
    try await connection.declare(Queue("q"))
    let large = Array(repeating: UInt8(0), count: 800)
    var outcomes = [true: 0, false: 0]
    // Repeats until one publish starts while another is not confirmed yet.
    try await eventually("one is refused") {
      await withTaskGroup(of: Bool.self) { group in
        for _ in 0..<20 {
          group.addTask { (try? await connection.publish([message("q", large)])) != nil }
        }
        for await wasSent in group { outcomes[wasSent]! += 1 }
      }
      return outcomes[false]! > 0
    }
    #expect(outcomes[true]! >= 1)
    let other = try await FreshVirtualHost.current.connect()
    #expect(try await other.declare(Queue("q")).messageCount == outcomes[true]!)
  }
}

@Suite("Publisher and consumer", .tags(.integration), .needsServers)
struct ReconnectionTests {
  @Test("Publisher and consumer continue after their connections are closed", .freshVirtualHost)
  func closedConnections() async throws {
    let host = FreshVirtualHost.current!
    let exchange = Exchange("feed", .fanout, isDurable: false)
    let publisher = RabbitMQPublisher(host.configuration, exchanges: [exchange], logger: .quiet)
    let consumer = RabbitMQConsumer(host.configuration, prefetch: 10, logger: .quiet) { connection in
      try await connection.declare(exchange)
      let queue = try await connection.declare(Queue("q", isDurable: false))
      try await connection.bind(queue: queue.name, to: "feed", routingKey: "")
      return queue.name
    }
    let received = Received()
    let consuming = Task { await consumer.run { delivery in await received.add(delivery.body) } }
    for round in UInt8(0)..<3 {
      // Repeats until the message is confirmed and routed: sending again is up to the caller.
      try await eventually("message \(round) is accepted") {
        (try? await publisher.publish([message("", [round], exchange: "feed")])) == [.accepted]
      }
      try await eventually("message \(round) is received") { await received.bodies.contains([round]) }
      try await host.closeConnections()
    }
    consuming.cancel()
    await consuming.value
    await publisher.close()
  }

  @Test("A delivery whose handler throws is delivered again", .freshVirtualHost)
  func failingHandler() async throws {
    struct Failure: Error {}
    let host = FreshVirtualHost.current!
    let connection = try await host.connect()
    try await connection.declare(Queue("q"))
    _ = try await connection.publish([message("q", [1])])
    let received = Received()
    let consumer = RabbitMQConsumer(host.configuration, prefetch: 1, logger: .quiet) { _ in "q" }
    let consuming = Task {
      await consumer.run { delivery in
        await received.add(delivery.body)
        if await received.bodies.count == 1 { throw Failure() }
      }
    }
    try await eventually("it comes a second time") { await received.bodies.count == 2 }
    try await eventually("and is acknowledged") { try await connection.declare(Queue("q")).messageCount == 0 }
    consuming.cancel()
    await consuming.value
  }
}

actor Received {
  private(set) var bodies: [[UInt8]] = []
  func add(_ body: [UInt8]) { bodies.append(body) }
}
