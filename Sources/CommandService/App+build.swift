import CommandProcessing
import CommerceAPI
import Hummingbird
import Logging
import Postgres
import PostgresEventStore
import ServiceKit
import ServiceLifecycle

extension App {
  static let port = CommonSettings.httpPort(default: 8081)

  static let currency = Setting(
    "CURRENCY", default: "GBP", allowed: "three capital letters of ISO 4217, such as GBP",
    help: "The currency of every price; one a store."
  ) { text in
    text.utf8.count == 3 && text.utf8.allSatisfy { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) } ? text : nil
  }

  static let batchSize = Setting.integer(
    "COMMAND_BATCH_SIZE", default: 100, in: 1...1_000, help: "Commands that are appended together, at most.")

  static let queueSize = Setting.integer(
    "COMMAND_QUEUE_SIZE", default: 5_000, in: 1...1_000_000,
    help: "Commands that may wait to be decided; more are answered with 503.")

  static let patience = Setting.seconds(
    "COMMAND_PATIENCE", default: 5, in: 0.1...60,
    help: "How long a command may wait to be decided, in seconds; past it the answer is 503.")

  static let settings =
    [
      CommonSettings.writeDatabaseURL.description, CommonSettings.poolSize.description,
      CommonSettings.statementTimeout.description, CommonSettings.acquireTimeout.description, batchSize.description,
      queueSize.description, patience.description, currency.description, port.description,
    ] + CommonSettings.ofEveryProcess

  /// Puts the process together: HTTP, the command processor, and its connections.
  static func build(_ settings: Settings, _ logger: Logger) throws -> [any Service] {
    let pool = try Databases.pool(
      CommonSettings.writeDatabaseURL, settings, name: "command-service", logger: logger)
    var limits = CommandProcessor<PostgresEventStore>.Limits()
    limits.batchSize = try settings[batchSize]
    limits.queueSize = try settings[queueSize]
    limits.patience = try settings[patience]
    let store = PostgresEventStore(pool, appendTimeout: try settings[CommonSettings.statementTimeout])
    let processor = CommandProcessor(store, limits: limits, logger: logger)

    let router = Router()
    router.addHealth([.database("writeStore", pool, [eventStoreSchema])])
    CommandRoutes(processor: processor, currency: try settings[currency]).add(to: router)
    let server = ServiceMain.httpServer(
      ProblemResponder(router, elsewhere: CommerceRoutes.queries, translate: commandProblem),
      host: try settings[CommonSettings.httpHost], port: try settings[port], logger: logger)
    return [pool, processor, server]
  }
}
