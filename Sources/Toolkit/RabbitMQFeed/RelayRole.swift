internal import EventSourcing
internal import HTTPKit
internal import Postgres
internal import PostgresEventStore
internal import RabbitMQ
public import ServiceKit
package import SettingsKit

extension Role {
  /// The role that publishes events on RabbitMQ, for projectors and for other systems.
  public static let relay = Role(
    "relay", port: 8083,
    settings: [
      CommonSettings.writeDatabaseURL.description, RabbitMQFeed.url.description,
      CommonSettings.poolSize.description, CommonSettings.statementTimeout.description,
      CommonSettings.acquireTimeout.description, CommonSettings.partitions.description,
      CommonSettings.leaseDuration.description, RelaySettings.pollInterval.description,
      RelaySettings.gatherTime.description, RelaySettings.readSize.description,
      RelaySettings.jumpDistance.description, RelaySettings.integrationFeed.description,
      RelaySettings.integrationSource.description,
    ]
  ) { settings, logger in
    let witness = ServerWitness(logger: logger)
    let pool = try Databases.pool(
      CommonSettings.writeDatabaseURL, settings, name: "relay", logger: logger,
      onConnect: witness.check)
    witness.watch(pool)
    let broker = RabbitMQConfiguration(url: try settings[RabbitMQFeed.url], connectionName: "relay")
    let publisher = RabbitMQPublisher(broker, exchanges: [LiveFeed.exchange], logger: logger)
    let integration =
      try settings[RelaySettings.integrationFeed]
      ? RabbitMQPublisher(broker, exchanges: [IntegrationFeed.exchange], logger: logger) : nil
    let relay = Relay(
      pool, publisher, integration: integration, settings: try Relay.Settings(settings), logger: logger)
    var parts = RoleParts()
    parts.services = [pool, witness]
    parts.workers = [relay]
    parts.healthChecks = [
      .database("writeStore", pool, [eventStoreSchema]),
      HealthCheck("broker") {
        guard await publisher.isReady() else { throw NotReady("the broker does not answer or blocks publishing") }
      },
    ]
    return parts
  }
}

extension RabbitMQFeed {
  package static let url = Setting(
    "AMQP_URL", default: nil, allowed: "a URL such as amqp://user:password@host:5672/vhost, or amqps://…",
    help: "The broker; the virtual host is percent-encoded (%2F is the default one).", isSecret: true
  ) { RabbitMQConfiguration.isValid(url: $0) ? $0 : nil }
}

private enum RelaySettings {
  static let pollInterval = Setting.seconds(
    "RELAY_POLL_INTERVAL", default: 0.5, in: 0.01...60,
    help: "How often the write store is polled when no notification arrives, in seconds.")

  static let gatherTime = Setting.seconds(
    "RELAY_GATHER_TIME", default: 0.016, in: 0...1,
    help:
      "How long after the beginning of a round the next one begins, at least, in seconds: what is appended meanwhile goes in one."
  )

  static let readSize = Setting.integer(
    "RELAY_READ_SIZE", default: 1_000, in: 1...10_000,
    help: "The maximum number of events in one read of the write store.")

  static let jumpDistance = Setting.integer(
    "RELAY_JUMP_DISTANCE", default: 50_000, in: 1_000...1_000_000_000,
    help: "If the live feed is this many events behind, it skips to the head; projectors read the store meanwhile.")

  static let integrationFeed = Setting(
    "INTEGRATION_FEED", default: "on", allowed: "on or off",
    help: "Whether each event is published as a CloudEvent on the exchange counterflow.events."
  ) { $0 == "on" ? true : $0 == "off" ? false : nil }

  static let integrationSource = Setting(
    "INTEGRATION_SOURCE", default: "/counterflow", allowed: "a URI reference without blanks",
    help: "The CloudEvents source of these events."
  ) { $0.isEmpty || $0.contains(where: \.isWhitespace) ? nil : $0 }
}

extension Relay.Settings {
  fileprivate init(_ settings: Settings) throws(SettingError) {
    self.init()
    partitioning = try settings[CommonSettings.partitions]
    leaseDuration = try settings[CommonSettings.leaseDuration]
    following.pollInterval = try settings[RelaySettings.pollInterval]
    following.gatherTime = try settings[RelaySettings.gatherTime]
    following.readSize = try settings[RelaySettings.readSize]
    following.jumpDistance = try settings[RelaySettings.jumpDistance]
    source = try settings[RelaySettings.integrationSource]
  }
}
