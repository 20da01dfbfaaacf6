internal import CommandProcessing
internal import EventSourcing
internal import Foundation
internal import Logging
internal import Postgres
internal import PostgresEventStore
internal import Projections
public import Reactions
public import ServiceKit
internal import ServiceLifecycle
public import SettingsKit

extension Role {
  /// Carries out what follows from events, and scheduled commands when they are due. Apart from what effects call, it needs the
  /// write store alone.
  /// - Parameters:
  ///   - names: of all reactions of the application.
  ///   - own: settings that `reactions` reads, besides those of every reactor.
  ///   - reactions: all of the application's.
  public static func reactor(
    _ names: [String], settings own: [SettingDescription] = [],
    _ reactions: @escaping @Sendable (Settings) throws(SettingError) -> [any Reacting]
  ) -> Role {
    let chosen = ReactorSettings.reactions(of: names)
    return Role(
      "reactor", port: 8085,
      settings: [
        CommonSettings.writeDatabaseURL.description, CommonSettings.poolSize.description,
        CommonSettings.statementTimeout.description, CommonSettings.acquireTimeout.description,
        CommonSettings.leaseDuration.description, ProjectorSettings.headInterval.description,
        ProjectorSettings.haltRetry.description, ProjectorSettings.parkLimit.description,
        ReactorSettings.rate.description, ReactorSettings.retention.description, chosen.description,
      ] + PersonalKeySettings.all + own
    ) { settings, logger in
      let names = try settings[chosen]
      let definitions = try reactions(settings).map(\.definition)
      if let problem = ReactionDefinition.problem(with: definitions) { throw ProjectionsError(problem) }
      let own = definitions.filter { names.contains($0.name) }
      let leaseDuration = try settings[CommonSettings.leaseDuration]
      let witness = ServerWitness(logger: logger)
      let writeStore = try Databases.pool(
        CommonSettings.writeDatabaseURL, settings, name: "reactor", logger: logger,
        onConnect: witness.check)
      witness.watch(writeStore)
      // A connection for each lane, one for what the lanes share, and one for the worker's row.
      let checkpoints = try Databases.pool(
        CommonSettings.writeDatabaseURL, settings, name: "reactor checkpoints", logger: logger,
        atLeast: own.count * ReactorSettings.lanes + 3,
        onConnect: { [prepare = Projector.prepare(leaseDuration: leaseDuration)] connection in
          try await witness.check(connection)
          try await prepare(connection)
        })
      let store = PostgresEventStore(writeStore, appendTimeout: try settings[CommonSettings.statementTimeout])
      let processor = CommandProcessor(store, logger: logger)
      let keys = PersonalKeys(writeStore, try PersonalKeySettings.read(settings, logger))
      var deadlines = Deadlines<PostgresEventStore>.Settings()
      (deadlines.rate, deadlines.leaseDuration) = (try settings[ReactorSettings.rate], leaseDuration)
      var parts = RoleParts()
      parts.services = [writeStore, checkpoints, witness, processor]
      parts.workers = [
        Deadlines(definitions.flatMap(\.schedules), writeStore, processor, deadlines, logger: logger)
      ]
      if own.contains(where: \.isEffect) {
        let retention = Duration.seconds(try settings[ReactorSettings.retention] * 86_400)
        parts.workers.append(AttemptForgetting(writeStore, olderThan: retention, logger: logger))
      }
      let feed = PostgresFeed(writeStore, gatherTime: ReactorSettings.gatherTime, logger: logger)
      for (isCorrelated, partitioning) in [(false, Partitioning.standard), (true, Partitioning.single)] {
        let some = own.filter { $0.isCorrelated == isCorrelated }
        guard !some.isEmpty else { continue }
        let running = some.map { $0.running(processor, writeStore, keys: keys, logger: logger) }
        // They stop after the engine, which waits for them.
        parts.workers += running.compactMap(\.caller)
        parts.workers.append(
          Projector(
            running.map(\.projection), readStore: checkpoints, writeStore: writeStore,
            feed: feed, settings: try ReactorSettings.engine(settings, partitioning), logger: logger))
      }
      parts.healthChecks = [.database("writeStore", writeStore, [eventStoreSchema, personalSchema, projectionsSchema])]
      return parts
    }
  }
}

private enum ReactorSettings {
  /// Batches of one reaction that may be under way at once.
  static let lanes = 2
  /// Events that are appended within it are reacted to together. Under a steady load most of the cost is the number of batches.
  static let gatherTime = Duration.milliseconds(25)
  /// Events of one batch: the last one of it waits for all before it to be carried out.
  private static let batchSize = 200

  static let rate = Setting.integer(
    "DEADLINE_RATE", default: 500, in: 1...100_000,
    help: "The maximum number of scheduled commands per second, so that a backlog leaves capacity for other commands.")

  static let retention = Setting.integer(
    "EFFECT_RETENTION", default: 30, in: 1...3_650,
    help:
      "Days that the record of attempts at calls is kept. A call is not made again while the record says that it has succeeded."
  )

  /// - Parameter names: all that there are.
  static func reactions(of names: [String]) -> Setting<Set<String>> {
    .chosen("REACTIONS", of: names, help: "The reactions that this process runs.")
  }

  static func engine(_ settings: Settings, _ partitioning: Partitioning) throws(SettingError) -> Projector.Settings {
    var engine = Projector.Settings()
    engine.partitioning = partitioning
    (engine.batchSize, engine.lanes) = (batchSize, lanes)
    engine.leaseDuration = try settings[CommonSettings.leaseDuration]
    engine.headInterval = try settings[ProjectorSettings.headInterval]
    engine.haltRetry = try settings[ProjectorSettings.haltRetry]
    engine.parkLimit = try settings[ProjectorSettings.parkLimit]
    engine.name = Projector.Settings.nameOfProcess
    return engine
  }
}
