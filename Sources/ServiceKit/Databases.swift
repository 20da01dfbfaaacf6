public import Logging
public import Postgres

/// Pools on the two databases, as the settings say.
public enum Databases {
  /// - Parameter minimum: connections that the process cannot do without, whatever the setting says.
  public static func pool(
    _ url: Setting<String>, _ settings: Settings, name: String, logger: Logger,
    atLeast minimum: Int = 0, onConnect: @escaping @Sendable (PostgresConnection) async throws -> Void = { _ in }
  ) throws(SettingError) -> PostgresPool {
    PostgresPool(
      PostgresConfiguration(
        url: try settings[url], applicationName: name, statementTimeout: try settings[CommonSettings.statementTimeout]),
      limits: PostgresPool.Limits(
        size: max(try settings[CommonSettings.poolSize], minimum),
        acquireTimeout: try settings[CommonSettings.acquireTimeout]),
      logger: logger, onConnect: onConnect)
  }
}

extension HealthCheck {
  /// The database answers, and has at least the schemas that this build needs.
  public static func database(_ name: String, _ pool: PostgresPool, _ schemas: [Schema]) -> HealthCheck {
    HealthCheck(name) {
      for schema in schemas {
        let version = try await pool.withConnection { try await $0.version(of: schema) }
        guard version >= schema.version else {
          throw NotReady(
            "the schema \(schema.name) is at version \(version) and \(schema.version) is needed; run counterflow migrate"
          )
        }
      }
    }
  }
}

extension HealthCheck {
  /// One of several servers, at least, answers and has the schemas.
  public static func anyDatabase(_ name: String, _ pools: [PostgresPool], _ schemas: [Schema]) -> HealthCheck {
    HealthCheck(name) {
      var failure: (any Error)?
      for pool in pools {
        do { return try await HealthCheck.database(name, pool, schemas).check() } catch { failure = error }
      }
      if let failure { throw failure }
    }
  }
}
