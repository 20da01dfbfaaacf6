public import AccessKit
internal import CommandProcessing
public import HTTPKit
internal import Hummingbird
public import Logging
public import Postgres
public import PostgresEventStore
public import ServiceKit
public import ServiceLifecycle
public import SettingsKit

/// The parts of a command-service, for the routes that an application adds.
public struct CommandService: Sendable {
  /// Carries commands out, and reads streams.
  public let commands: Commands<PostgresEventStore>
  /// The keys of personal data in the write store.
  public let keys: PersonalKeys
  /// Admits callers that may write.
  public let admission: Admission
}

extension Role {
  /// Takes commands over HTTP, and appends their events.
  /// - Parameters:
  ///   - own: Settings that `extend` and `begin` read, in addition to those of every command-service.
  ///   - begin: Returns what the application needs on the write store: schemas, services, health checks, and a check
  ///     that throws while no command may be accepted.
  ///   - extend: Adds the routes.
  public static func commandService(
    settings own: [SettingDescription] = [],
    begin: @escaping @Sendable (PostgresPool, Settings, Logger) throws -> CommandPrerequisites = { _, _, _ in
      CommandPrerequisites()
    },
    _ extend: @escaping @Sendable (CommandService, Settings, inout RoleParts) throws -> Void
  ) -> Role {
    Role(
      "command-service", port: 8081,
      settings: [
        CommonSettings.writeDatabaseURL.description, CommonSettings.poolSize.description,
        CommonSettings.statementTimeout.description, CommonSettings.acquireTimeout.description,
        CommandSettings.batchSize.description, CommandSettings.queueSize.description,
        CommandSettings.patience.description, CommandSettings.cacheSize.description,
        CommandSettings.resendPatience.description, CommandSettings.keyRetention.description,
        CommandSettings.generatedKeyRetention.description, CommonSettings.consistencyTokenKey.description,
      ] + PersonalKeySettings.all + own
    ) { settings, logger, access in
      let witness = ServerWitness(logger: logger)
      let pool = try Databases.pool(
        CommonSettings.writeDatabaseURL, settings, name: "command-service", logger: logger,
        onConnect: witness.check)
      witness.watch(pool)
      let store = PostgresEventStore(pool, appendTimeout: try settings[CommonSettings.statementTimeout])
      let processor = CommandProcessor(store, limits: try CommandSettings.limits(settings), logger: logger)
      let needed = try begin(pool, settings, logger)
      let retention = KeyForgetting(
        store: store, retention: try settings[CommandSettings.keyRetention],
        ofGenerated: try settings[CommandSettings.generatedKeyRetention], logger: logger)
      var parts = RoleParts()
      parts.services =
        [pool, witness, DurabilityCheck(pool: pool, logger: logger)] + needed.services + [retention, processor]
      parts.healthChecks =
        [
          .database("writeStore", pool, [eventStoreSchema, personalSchema] + needed.schemas),
          .saying("durability") { try await Durability(of: pool).rawValue },
        ] + needed.healthChecks
      parts.translate = commandProblem
      let service = CommandService(
        commands: Commands(
          processor, store, tokenKey: ConsistencyToken.Key(try settings[CommonSettings.consistencyTokenKey].utf8),
          mayBegin: needed.mayBegin), keys: PersonalKeys(pool, try PersonalKeySettings.read(settings, logger)),
        admission: Admission(access, scope: .commandsWrite))
      try extend(service, settings, &parts)
      return parts
    }
  }
}

/// The requirements of an application's commands on the write store, in addition to the events.
public struct CommandPrerequisites {
  /// Schemas, besides that of the events, that the write store must have before the process is ready.
  public var schemas: [Schema] = []
  /// Services that run as long as the process accepts commands.
  public var services: [any Service] = []
  /// Further conditions for the process to be ready.
  public var healthChecks: [HealthCheck] = []
  /// Throws a `Problem` while no command may be accepted.
  public var mayBegin: @Sendable () throws -> Void = {}

  /// Creates requirements that are empty.
  public init() {}
}

private enum CommandSettings {
  static let batchSize = Setting.integer(
    "COMMAND_BATCH_SIZE", default: 100, in: 1...1_000, help: "The maximum number of commands in one append.")

  static let queueSize = Setting.integer(
    "COMMAND_QUEUE_SIZE", default: 5_000, in: 1...1_000_000,
    help: "The maximum number of commands that wait or run; others get 503.")

  static let patience = Setting.seconds(
    "COMMAND_PATIENCE", default: 5, in: 0.1...60,
    help: "How long a command may wait for its decision, in seconds; then the response is 503.")

  static let cacheSize = Setting.integer(
    "COMMAND_CACHE_MB", default: 32, in: 1...100_000,
    help: "The size of the state cache in megabytes, by estimate.")

  static let resendPatience = Setting.seconds(
    "COMMAND_RESEND_PATIENCE", default: 10, in: 0.1...300,
    help:
      "How long an append whose outcome was lost is sent again, in seconds from the loss; past it the response is 504.")

  static let keyRetention = retention(
    "IDEMPOTENCY_RETENTION", default: "unlimited", help: "How long the response to an Idempotency-Key is kept.")

  static let generatedKeyRetention = retention(
    "IDEMPOTENCY_RETENTION_GENERATED", default: "1",
    help: "The same for commands without an Idempotency-Key, which get a generated one; at most IDEMPOTENCY_RETENTION."
  )

  private static func retention(_ name: String, default value: String, help: String) -> Setting<KeyRetention> {
    Setting(name, default: value, allowed: "unlimited, or days from 1 to 36500", help: help) { text in
      if text == "unlimited" { return .unlimited }
      return Int(text).flatMap { (1...36_500).contains($0) ? .days($0) : nil }
    }
  }

  static func limits(_ settings: Settings) throws(SettingError) -> CommandProcessor<PostgresEventStore>.Limits {
    var limits = CommandProcessor<PostgresEventStore>.Limits()
    limits.batchSize = try settings[batchSize]
    limits.queueSize = try settings[queueSize]
    limits.patience = try settings[patience]
    limits.cacheBytes = try settings[cacheSize] * 1_000_000
    limits.resendPatience = try settings[resendPatience]
    return limits
  }
}
