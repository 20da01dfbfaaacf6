import Foundation
import RabbitMQ
import TestSupport
import Testing

private func message(_ key: String, _ body: [UInt8] = [1], exchange: String = "") -> Message {
  Message(exchange: exchange, routingKey: key, body: body)
}

@Suite("Broker", .tags(.integration), .needsServers)
struct BrokerTests {
  @Test("a message comes out as it went in, whatever its size", .freshVirtualHost)
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

  @Test("thousands of messages are confirmed while more are sent", .freshVirtualHost)
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

  @Test("what no queue takes is returned, what a full queue refuses is refused, each by itself", .freshVirtualHost)
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

  @Test("declaring with other properties, and using what is not there, is refused with AMQP's code", .freshVirtualHost)
  func refusals() async throws {
    func expect(_ code: RabbitMQError.Code, _ body: (RabbitMQConnection) async throws -> Void) async throws {
      let connection = try await FreshVirtualHost.current.connect()
      await #expect { try await body(connection) } throws: { ($0 as? RabbitMQError)?.code == code }
      #expect(await connection.isUsable == false)
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

  @Test("a wrong URL, nobody there and a wrong password are told apart, and the password is not told")
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

  @Test("no more than the prefetch is on its way, and one acknowledgement takes many", .freshVirtualHost)
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

  @Test("a consumer whose queue is deleted is told", .freshVirtualHost)
  func deletedQueue() async throws {
    let (consumer, other) = (try await FreshVirtualHost.current.connect(), try await FreshVirtualHost.current.connect())
    try await other.declare(Queue("q"))
    let deliveries = try await consumer.consume(queue: "q", prefetch: 1)
    try await other.delete(queue: "q")
    await #expect {
      for try await _ in deliveries {}
    } throws: { ($0 as? RabbitMQError)?.code == .consumerCancelled }
  }

  @Test("a queue that was purged is empty, and one that was unbound gets nothing more", .freshVirtualHost)
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

  @Test("an idle connection answers heartbeats", .freshVirtualHost)
  func heartbeats() async throws {
    var configuration = FreshVirtualHost.current.configuration
    configuration.heartbeat = .seconds(1)
    let connection = try await RabbitMQConnection.connect(configuration)
    // Without an answer the broker would hang up after two to three intervals.
    try await Task.sleep(for: .seconds(5))
    try await connection.declare(Queue("q"))
    #expect(try await connection.publish([message("q")]) == [.accepted])
  }

  @Test("more unconfirmed bytes than the limit are refused before anything is sent", .freshVirtualHost)
  func limit() async throws {
    var configuration = FreshVirtualHost.current.configuration
    configuration.maximumInFlight = 1_000
    let connection = try await RabbitMQConnection.connect(configuration)
    try await connection.declare(Queue("q"))
    let large = Array(repeating: UInt8(0), count: 800)
    let outcomes = await withTaskGroup(of: Bool.self) { group in
      for _ in 0..<20 {
        group.addTask { (try? await connection.publish([message("q", large)])) != nil }
      }
      return await group.reduce(into: [true: 0, false: 0]) { $0[$1]! += 1 }
    }
    #expect(outcomes[true]! >= 1 && outcomes[true]! + outcomes[false]! == 20)
    let other = try await FreshVirtualHost.current.connect()
    #expect(try await other.declare(Queue("q")).messageCount == outcomes[true]!)
  }
}

@Suite("Publisher and consumer", .tags(.integration), .needsServers)
struct ReconnectionTests {
  @Test("both go on after their connections were closed", .freshVirtualHost)
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
      // Until it is confirmed and routed: the caller decides to send again.
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

  @Test("a delivery whose handler throws is given back", .freshVirtualHost)
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

private actor Received {
  private(set) var bodies: [[UInt8]] = []
  func add(_ body: [UInt8]) { bodies.append(body) }
}

@Suite("A RabbitMQ server that is killed", .tags(.integration, .system), .needsServers)
struct KilledBrokerTests {
  @Test(
    "publishes in flight fail, a stopped broker is found by its silence, and both sides come back", .whenThereIsRoom)
  func killed() async throws {
    let server = try PrivateServer(.rabbitmq)
    var configuration = RabbitMQConfiguration(url: try await server.url())
    configuration.heartbeat = .seconds(1)
    configuration.confirmTimeout = .seconds(30)
    let publisher = RabbitMQPublisher(configuration, exchanges: [], logger: .quiet)
    let consumer = RabbitMQConsumer(configuration, prefetch: 10, logger: .quiet) { connection in
      try await connection.declare(Queue("durable")).name
    }
    let received = Received()
    let consuming = Task { await consumer.run { delivery in await received.add(delivery.body) } }
    try await eventually("the broker takes a message", within: .seconds(120)) {
      (try? await publisher.publish([message("durable", [1])])) == [.accepted]
    }
    try await eventually("and delivers it") { await received.bodies.contains([1]) }

    // Stopped: the sockets stay open and nobody answers. The heartbeat finds it, not the confirm's bound.
    server.process.signal(SIGSTOP)
    let children = try Self.children(of: server.process.pid)
    children.forEach { kill($0, SIGSTOP) }
    await #expect {
      _ = try await publisher.publish([message("durable", [2])])
    } throws: { ($0 as? RabbitMQError)?.code == .connectionLost }
    (children + [server.process.pid]).forEach { kill($0, SIGKILL) }
    try await server.process.wait()
    await #expect { _ = try await publisher.publish([message("durable", [2])]) } throws: {
      ($0 as? RabbitMQError)?.isRetriable == true
    }

    let restarted = try PrivateServer(.rabbitmq, inPlaceOf: server)
    try await eventually("the broker takes a message again", within: .seconds(120)) {
      (try? await publisher.publish([message("durable", [3])])) == [.accepted]
    }
    try await eventually("and delivers it") { await received.bodies.contains([3]) }
    consuming.cancel()
    await consuming.value
    (try Self.children(of: restarted.process.pid) + [restarted.process.pid]).forEach { kill($0, SIGKILL) }
    try await restarted.process.wait()
  }

  /// The node is a shell script with the Erlang machine below it.
  private static func children(of pid: Int32) throws -> [Int32] {
    let path = "/proc/\(pid)/task/\(pid)/children"
    let direct = try String(contentsOfFile: path, encoding: .utf8).split(separator: " ").compactMap { Int32($0) }
    return try direct.flatMap { try [$0] + children(of: $0) }
  }
}

@Suite("RabbitMQ over TLS", .tags(.integration, .system), .needsServers)
struct SecureBrokerTests {
  @Test("messages of every size go over TLS, and only to a server that proves who it is", .whenThereIsRoom)
  func secure() async throws {
    let server = try PrivateServer(.rabbitmq, settings: ["RABBITMQ_TLS": "1"])
    let url = try await server.url()
    #expect(url.hasPrefix("amqps://") && RabbitMQConfiguration.isValid(url: url))
    let publisher = RabbitMQPublisher(RabbitMQConfiguration(url: url), exchanges: [], logger: .quiet)
    let consumer = RabbitMQConsumer(RabbitMQConfiguration(url: url), prefetch: 10, logger: .quiet) { connection in
      try await connection.declare(Queue("q")).name
    }
    let received = Received()
    let consuming = Task { await consumer.run { delivery in await received.add(delivery.body) } }
    try await eventually("the broker takes a message") {
      (try? await publisher.publish([message("q", [1])])) == [.accepted]
    }
    let bodies: [[UInt8]] = [0, 1, 16_384, 16_385, 1_000_000].map { Array(repeating: 7, count: $0) }
    let outcomes = try await publisher.publish((0..<40).map { message("q", bodies[$0 % bodies.count]) })
    #expect(outcomes == Array(repeating: .accepted, count: 40))
    try await eventually("all come") { await received.bodies.count == 41 }
    #expect(await received.bodies.dropFirst().map(\.count) == (0..<40).map { bodies[$0 % bodies.count].count })
    // Signed by nobody whom the system knows; and in the clear where TLS is spoken.
    let plain = String(url.prefix { $0 != "?" })
    for wrong in [plain, plain.replacing("amqps://", with: "amqp://"), url.replacing("localhost", with: "127.0.0.1")] {
      await #expect(throws: RabbitMQError.self) {
        try await RabbitMQConnection.connect(RabbitMQConfiguration(url: wrong, timeout: .seconds(5)))
      }
    }
    consuming.cancel()
    for wrong in ["amqps://h/?cacertfile=", "amqps://h/?x=1", "amqp://h/?cacertfile=/x", "http://h/"] {
      #expect(!RabbitMQConfiguration.isValid(url: wrong))
    }
    server.process.signal(SIGKILL)
    try await server.process.wait()
  }
}
