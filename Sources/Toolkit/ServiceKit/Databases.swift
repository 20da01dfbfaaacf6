public import Logging
public import Postgres

/// Pools on the two databases, as the settings say.
public enum Databases {
  /// - Parameters:
  ///   - size: connections, at most.
  ///   - timeout: bound on one statement; nil for what the settings say of all databases.
  public static func pool(
    url: String, _ settings: Settings, name: String, size: Int, timeout: Duration? = nil, logger: Logger,
    onConnect: @escaping @Sendable (PostgresConnection) async throws -> Void = { _ in }
  ) throws(SettingError) -> PostgresPool {
    let usual = try settings[CommonSettings.statementTimeout]
    return PostgresPool(
      PostgresConfiguration(url: url, applicationName: name, statementTimeout: timeout ?? usual),
      limits: PostgresPool.Limits(size: size, acquireTimeout: try settings[CommonSettings.acquireTimeout]),
      logger: logger, onConnect: onConnect)
  }

  /// One connection that looks again and again, beside those of the requests.
  /// - Parameter timeout: bound on one look.
  public static func watch(url: String, name: String, timeout: Duration, logger: Logger) -> PostgresPool {
    PostgresPool(
      PostgresConfiguration(url: url, applicationName: name, statementTimeout: timeout),
      limits: PostgresPool.Limits(size: 1, acquireTimeout: .seconds(1)), logger: logger)
  }

  /// - Parameter minimum: connections that the process cannot do without, whatever the setting says.
  public static func pool(
    _ url: Setting<String>, _ settings: Settings, name: String, logger: Logger,
    atLeast minimum: Int = 0, timeout: Duration? = nil,
    onConnect: @escaping @Sendable (PostgresConnection) async throws -> Void = { _ in }
  ) throws(SettingError) -> PostgresPool {
    try pool(
      url: try settings[url], settings, name: name, size: max(try settings[CommonSettings.poolSize], minimum),
      timeout: timeout, logger: logger, onConnect: onConnect)
  }
}

extension HealthCheck {
  /// The database answers, and has at least the schemas that this build needs.
  /// - Parameter problem: what else is wrong with it; nil for nothing.
  public static func database(
    _ name: String, _ pool: PostgresPool, _ schemas: [Schema],
    problem: @escaping @Sendable (PostgresPool) async throws -> String? = { _ in nil }
  ) -> HealthCheck {
    HealthCheck(name) {
      for schema in schemas {
        let version = try await pool.withConnection { try await $0.version(of: schema) }
        guard version >= schema.version else {
          throw NotReady(
            "the schema \(schema.name) is at version \(version) and \(schema.version) is needed; run counterflow migrate"
          )
        }
      }
      if let problem = try await problem(pool) { throw NotReady(problem) }
    }
  }

  /// One of several servers, at least, answers and has the schemas.
  public static func anyDatabase(
    _ name: String, _ pools: [PostgresPool], _ schemas: [Schema],
    problem: @escaping @Sendable (PostgresPool) async throws -> String? = { _ in nil }
  ) -> HealthCheck {
    HealthCheck(name) {
      var failure: (any Error)?
      for pool in pools {
        do { return try await HealthCheck.database(name, pool, schemas, problem: problem).check() } catch {
          failure = error
        }
      }
      if let failure { throw failure }
    }
  }
}
