import Failures
import Foundation
import RabbitMQ
import TestSupport
import Testing

@Suite("A killed or stalled RabbitMQ server", .tags(.integration, .system), .needsServers)
struct KilledBrokerTests {
  @Test(
    "Publishes in flight fail, heartbeats detect a stopped broker, and both sides reconnect", .whenThereIsRoom)
  func killed() async throws {
    let server = try PrivateServer(.rabbitmq)
    var configuration = RabbitMQConfiguration(url: try await server.url())
    configuration.heartbeat = .seconds(3)
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

    // The broker is suspended: its sockets stay open and nothing answers. The heartbeat detects this before the confirm
    // timeout.
    let stopped = try await server.process.suspend()
    await #expect {
      _ = try await publisher.publish([message("durable", [2])])
    } throws: { ($0 as? RabbitMQError)?.code == .connectionLost }
    stopped.forEach { kill($0, SIGKILL) }
    try await server.process.wait()
    await #expect { _ = try await publisher.publish([message("durable", [2])]) } throws: {
      ($0 as? RabbitMQError)?.failureKind == .retry
    }

    let restarted = try PrivateServer(.rabbitmq, inPlaceOf: server)
    try await eventually("the broker takes a message again", within: .seconds(120)) {
      (try? await publisher.publish([message("durable", [3])])) == [.accepted]
    }
    try await eventually("and delivers it") { await received.bodies.contains([3]) }
    consuming.cancel()
    await consuming.value
    try await restarted.process.suspend().forEach { kill($0, SIGKILL) }
    try await restarted.process.wait()
  }
}

@Suite("RabbitMQ over TLS", .tags(.integration, .system), .needsServers)
struct SecureBrokerTests {
  @Test("Messages of every size go over TLS, and only to a server with a trusted certificate", .whenThereIsRoom)
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
    // The system does not know the signer, the client does not use TLS, or the host name does not match.
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
