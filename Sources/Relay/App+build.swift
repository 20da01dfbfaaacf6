import EventRelay
import EventSourcing
import Hummingbird
import Logging
import Postgres
import PostgresEventStore
import RabbitMQ
import ServiceKit
import ServiceLifecycle

extension App {
  static let port = CommonSettings.httpPort(default: 8083)

  static let pollInterval = Setting.seconds(
    "RELAY_POLL_INTERVAL", default: 0.5, in: 0.01...60,
    help: "How often the write store is looked at without a notification, in seconds.")

  static let gatherTime = Setting.seconds(
    "RELAY_GATHER_TIME", default: 0.008, in: 0...1,
    help:
      "How long after the beginning of a round the next one begins, at least, in seconds: what is appended meanwhile goes in one."
  )

  static let readSize = Setting.integer(
    "RELAY_READ_SIZE", default: 1_000, in: 1...10_000, help: "Events read from the write store at a time.")

  static let jumpDistance = Setting.integer(
    "RELAY_JUMP_DISTANCE", default: 50_000, in: 1_000...1_000_000_000,
    help: "Events behind the head beyond which the live feed jumps to it; projectors read the store faster.")

  static let integrationFeed = Setting(
    "INTEGRATION_FEED", default: "on", allowed: "on or off",
    help: "Whether each event is published for anyone, as a CloudEvent on the exchange counterflow.events."
  ) { $0 == "on" ? true : $0 == "off" ? false : nil }

  static let integrationSource = Setting(
    "INTEGRATION_SOURCE", default: "/counterflow", allowed: "a URI reference without blanks",
    help: "The CloudEvents source of these events."
  ) { $0.isEmpty || $0.contains(where: \.isWhitespace) ? nil : $0 }

  static let settings =
    [
      CommonSettings.writeDatabaseURL.description, CommonSettings.amqpURL.description,
      CommonSettings.poolSize.description, CommonSettings.statementTimeout.description,
      CommonSettings.acquireTimeout.description, CommonSettings.partitions.description,
      CommonSettings.leaseDuration.description, pollInterval.description, gatherTime.description,
      readSize.description,
      jumpDistance.description, integrationFeed.description,
      integrationSource.description, port.description,
    ] + CommonSettings.ofEveryProcess

  /// Puts the process together: the relay, and HTTP for its health.
  static func build(_ settings: Settings, _ logger: Logger) throws -> [any Service] {
    let pool = try Databases.pool(
      CommonSettings.writeDatabaseURL, settings, name: "relay", logger: logger,
      onConnect: PostgresEventStore.checkServer)
    let broker = RabbitMQConfiguration(url: try settings[CommonSettings.amqpURL], connectionName: "relay")
    let publisher = RabbitMQPublisher(broker, exchanges: [LiveFeed.exchange], logger: logger)
    var relaySettings = EventRelay.Relay.Settings()
    relaySettings.partitioning = Partitioning(count: try settings[CommonSettings.partitions])!
    relaySettings.leaseDuration = try settings[CommonSettings.leaseDuration]
    relaySettings.pollInterval = try settings[pollInterval]
    relaySettings.gatherTime = try settings[gatherTime]
    relaySettings.readSize = try settings[readSize]
    relaySettings.jumpDistance = try settings[jumpDistance]
    relaySettings.source = try settings[integrationSource]
    let integration =
      try settings[integrationFeed]
      ? RabbitMQPublisher(broker, exchanges: [IntegrationFeed.exchange], logger: logger) : nil
    let relay = EventRelay.Relay(pool, publisher, integration: integration, settings: relaySettings, logger: logger)

    let router = ServiceMain.router()
    try router.addHealth(
      [
        .database("writeStore", pool, [eventStoreSchema]),
        HealthCheck("broker") {
          guard await publisher.isReady() else { throw NotReady("the broker does not answer or blocks publishing") }
        },
      ], settings)
    let server = try ServiceMain.httpServer(
      ProblemResponder(router), settings, port: port, logger: logger)
    return [pool, server, relay]
  }
}
