import CommerceReadModels
import EventSourcing
import Foundation
import Hummingbird
import Logging
import PersonalKeys
import Postgres
import PostgresEventStore
import Projections
import RabbitMQ
import ServiceKit
import ServiceLifecycle

extension App {
  static let port = CommonSettings.httpPort(default: 8084)

  static let batchSize = Setting.integer(
    "PROJECTION_BATCH_SIZE", default: 2_000, in: 1...100_000,
    help: "Events that one projection applies in one transaction, at most.")

  static let headInterval = Setting.seconds(
    "PROJECTION_HEAD_INTERVAL", default: 1, in: 0.05...60,
    help:
      "How often every partition is compared with the write store, in seconds: what the broker lost is found after one to two of them."
  )

  static let haltRetry = Setting.seconds(
    "PROJECTION_HALT_RETRY", default: 30, in: 0.1...3600,
    help: "When a partition that stopped is tried again, in seconds.")

  static let timeout = Setting.seconds(
    "PROJECTION_TIMEOUT", default: 5, in: 0.5...600,
    help:
      "Bound on one statement in the read store, in seconds: a server process that hangs holds its lane up for one more."
  )

  static let lanes = Setting.integer(
    "PROJECTION_LANES", default: 2, in: 1...16,
    help: "Transactions of one projection that may be under way at once in this process.")

  static let parkLimit = Setting.integer(
    "PROJECTION_PARK_LIMIT", default: 20, in: 0...10_000,
    help: "Streams of one partition that may be parked within a minute; at the next the partition stops instead.")

  static let memory = Setting.integer(
    "PROJECTION_MEMORY", default: 32, in: 1...65_536,
    help: "MiB of events that this process holds at once for all its projections, rebuilds included.")

  static let projections = Setting(
    "PROJECTIONS", default: "all",
    allowed: "all, or some of \(commerceProjections(nil).map(\.name).joined(separator: ", ")), with commas between",
    help: "The projections that this process runs, so that each read model scales by itself."
  ) { text -> Set<String>? in
    let all = Set(commerceProjections(nil).map(\.name))
    if text == "all" { return all }
    let names = text.split(separator: ",", omittingEmptySubsequences: false).map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    return Set(names).count == names.count && all.isSuperset(of: names) ? Set(names) : nil
  }

  static let settings =
    [
      CommonSettings.writeDatabaseURL.description, CommonSettings.readDatabaseURL.description,
      CommonSettings.amqpURL.description, CommonSettings.poolSize.description,
      CommonSettings.statementTimeout.description, CommonSettings.acquireTimeout.description,
      CommonSettings.partitions.description, CommonSettings.leaseDuration.description, batchSize.description,
      headInterval.description, haltRetry.description, timeout.description, lanes.description,
      parkLimit.description, memory.description, projections.description, port.description,
    ] + CommonSettings.ofEveryProcess

  /// Puts the process together: the projections, and HTTP for their health.
  static func build(_ settings: Settings, _ logger: Logger) throws -> [any Service] {
    let chosen = try settings[projections]
    // Three generations of each may run at once: one that serves, one that is kept, one that is built.
    let connections = chosen.count * (try settings[lanes]) * 3 + 3
    let readStore = try Databases.pool(
      CommonSettings.readDatabaseURL, settings, name: "projector", logger: logger, atLeast: connections,
      timeout: try settings[timeout],
      onConnect: Projections.Projector.prepare(leaseDuration: try settings[CommonSettings.leaseDuration]))
    let writeStore = try Databases.pool(
      CommonSettings.writeDatabaseURL, settings, name: "projector", logger: logger,
      onConnect: PostgresEventStore.checkServer)
    let all = commerceProjections(PersonalKeys(writeStore))
    let broker = RabbitMQConfiguration(url: try settings[CommonSettings.amqpURL], connectionName: "projector")
    var projectorSettings = Projections.Projector.Settings()
    projectorSettings.partitioning = Partitioning(count: try settings[CommonSettings.partitions])!
    projectorSettings.leaseDuration = try settings[CommonSettings.leaseDuration]
    projectorSettings.batchSize = try settings[batchSize]
    projectorSettings.headInterval = try settings[headInterval]
    projectorSettings.haltRetry = try settings[haltRetry]
    projectorSettings.lanes = try settings[lanes]
    projectorSettings.memory = try settings[memory] * 1024 * 1024
    projectorSettings.parkLimit = try settings[parkLimit]
    projectorSettings.name = "\(ProcessInfo.processInfo.hostName):\(ProcessInfo.processInfo.processIdentifier)"
    let projector = Projections.Projector(
      all.filter { chosen.contains($0.name) }, readStore: readStore, writeStore: writeStore, broker: broker,
      settings: projectorSettings,
      logger: logger)

    let router = ServiceMain.router()
    try router.addHealth(
      [
        .database("readStore", readStore, [projectionsSchema, readModelsSchema]),
        .database("writeStore", writeStore, [eventStoreSchema, personalSchema]),
        HealthCheck("broker") {
          do { try projector.checkFeed() } catch { throw NotReady("\(error)") }
        },
      ], settings)
    let server = try ServiceMain.httpServer(
      ProblemResponder(router), settings, port: port, logger: logger)
    return [readStore, writeStore, server, projector]
  }
}
