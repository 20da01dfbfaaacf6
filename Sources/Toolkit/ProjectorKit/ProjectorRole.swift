internal import EventSourcing
internal import Foundation
internal import HTTPKit
internal import Logging
internal import Postgres
public import PostgresEventStore
public import Projections
internal import RabbitMQ
internal import RabbitMQFeed
public import ServiceKit
internal import SettingsKit

extension Role {
  /// Keeps read models up to date.
  /// - Parameter projections: returns the read models. It gets the keys of personal data, for read models that show
  ///   some; nil if only the declarations are needed.
  public static func projector(_ projections: @escaping @Sendable (PersonalKeys?) -> [Projection]) -> Role {
    let chosen = ProjectorSettings.projections(of: projections(nil).map(\.name))
    return Role(
      "projector", port: 8084,
      settings: [
        CommonSettings.writeDatabaseURL.description, CommonSettings.readDatabaseURL.description,
        ProjectorSettings.feed.description, RabbitMQFeed.url.description, CommonSettings.poolSize.description,
        CommonSettings.statementTimeout.description, CommonSettings.acquireTimeout.description,
        CommonSettings.partitions.description, CommonSettings.leaseDuration.description,
        ProjectorSettings.batchSize.description, ProjectorSettings.headInterval.description,
        ProjectorSettings.haltRetry.description, ProjectorSettings.timeout.description,
        ProjectorSettings.lanes.description, ProjectorSettings.parkLimit.description,
        ProjectorSettings.memory.description, chosen.description,
      ] + PersonalKeySettings.all
    ) { settings, logger in
      let chosen = try settings[chosen]
      // Up to three generations of each may run at once: one that serves, one that is kept, one that is built.
      let connections = chosen.count * (try settings[ProjectorSettings.lanes]) * 3 + 3
      let readStore = try Databases.pool(
        CommonSettings.readDatabaseURL, settings, name: "projector", logger: logger, atLeast: connections,
        timeout: try settings[ProjectorSettings.timeout],
        onConnect: Projector.prepare(leaseDuration: try settings[CommonSettings.leaseDuration]))
      let witness = ServerWitness(logger: logger)
      let writeStore = try Databases.pool(
        CommonSettings.writeDatabaseURL, settings, name: "projector", logger: logger,
        onConnect: witness.check)
      witness.watch(writeStore)
      let keys = PersonalKeys(writeStore, try PersonalKeySettings.read(settings, logger))
      let projector = Projector(
        projections(keys).filter { chosen.contains($0.name) }, readStore: readStore,
        writeStore: writeStore, feed: try ProjectorSettings.feed(settings, writeStore, logger),
        settings: try Projector.Settings(settings), logger: logger)
      var parts = RoleParts()
      parts.services = [readStore, writeStore, witness]
      parts.workers = [projector, ErasureCopying(from: writeStore, to: readStore, logger: logger)]
      parts.healthChecks = [
        .database("readStore", readStore, [projectionsSchema, erasureLogSchema]) {
          try await Projection.problem(with: projections(nil), on: $0)
        },
        .database("writeStore", writeStore, [eventStoreSchema, personalSchema]),
        HealthCheck("feed") {
          do { try projector.checkFeed() } catch { throw NotReady("\(error)") }
        },
      ]
      return parts
    }
  }
}

enum ProjectorSettings {
  enum Feed: String, CaseIterable { case rabbitMQ = "rabbitmq", postgres }

  static let feed = Setting(
    "EVENT_FEED", default: "rabbitmq", allowed: "rabbitmq or postgres",
    help:
      "How new events reach this process: rabbitmq, from the relay; or postgres, from the write store itself, without relay and broker."
  ) { Feed(rawValue: $0) }

  static func feed(
    _ settings: Settings, _ writeStore: PostgresPool, _ logger: Logger
  ) throws(SettingError) -> any EventFeed {
    switch try settings[feed] {
    case .rabbitMQ:
      RabbitMQFeed(
        RabbitMQConfiguration(url: try settings[RabbitMQFeed.url], connectionName: "projector"), logger: logger)
    case .postgres: PostgresFeed(writeStore, logger: logger)
    }
  }

  static let batchSize = Setting.integer(
    "PROJECTION_BATCH_SIZE", default: 2_000, in: 1...100_000,
    help: "The maximum number of events that one projection applies in one transaction.")

  static let headInterval = Setting.seconds(
    "PROJECTION_HEAD_INTERVAL", default: 1, in: 0.05...60,
    help:
      "How often every partition is compared with the write store, in seconds: what the broker lost is found after one to two of them."
  )

  static let haltRetry = Setting.seconds(
    "PROJECTION_HALT_RETRY", default: 30, in: 0.1...3600,
    help: "How long a partition that stopped waits until it is tried again, in seconds.")

  static let timeout = Setting.seconds(
    "PROJECTION_TIMEOUT", default: 5, in: 0.5...600,
    help:
      "Bound on one statement in the read store, in seconds: a server process that hangs holds its lane up for one more."
  )

  static let lanes = Setting.integer(
    "PROJECTION_LANES", default: 2, in: 1...16,
    help: "The maximum number of concurrent transactions of one projection in this process.")

  static let parkLimit = Setting.integer(
    "PROJECTION_PARK_LIMIT", default: 20, in: 0...10_000,
    help: "The maximum number of streams of one partition that are parked within a minute; then the partition stops.")

  static let memory = Setting.integer(
    "PROJECTION_MEMORY", default: 32, in: 1...65_536,
    help: "The maximum size, in MiB, of the events that this process holds in memory for all its projections.")

  /// - Parameter names: the names of all projections.
  static func projections(of names: [String]) -> Setting<Set<String>> {
    .chosen(
      "PROJECTIONS", of: names,
      help: "The projections that this process runs.")
  }
}

extension Setting where Value == Set<String> {
  /// All of some names, or those that are named.
  static func chosen(_ setting: String, of names: [String], help: String) -> Setting {
    Setting(
      setting, default: "all",
      allowed: names.isEmpty ? "all" : "all, or some of \(names.joined(separator: ", ")), with commas between",
      help: help
    ) { text in
      if text == "all" { return Set(names) }
      let chosen = text.split(separator: ",", omittingEmptySubsequences: false).map {
        $0.trimmingCharacters(in: .whitespaces)
      }
      return Set(chosen).count == chosen.count && Set(names).isSuperset(of: chosen) ? Set(chosen) : nil
    }
  }
}

extension Projector.Settings {
  /// Host and process, for people.
  static var nameOfProcess: String {
    "\(ProcessInfo.processInfo.hostName):\(ProcessInfo.processInfo.processIdentifier)"
  }

  fileprivate init(_ settings: Settings) throws(SettingError) {
    self.init()
    partitioning = try settings[CommonSettings.partitions]
    leaseDuration = try settings[CommonSettings.leaseDuration]
    batchSize = try settings[ProjectorSettings.batchSize]
    headInterval = try settings[ProjectorSettings.headInterval]
    haltRetry = try settings[ProjectorSettings.haltRetry]
    lanes = try settings[ProjectorSettings.lanes]
    memory = try settings[ProjectorSettings.memory] * 1024 * 1024
    parkLimit = try settings[ProjectorSettings.parkLimit]
    name = Self.nameOfProcess
  }
}
