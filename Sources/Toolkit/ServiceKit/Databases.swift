package import HTTPKit
package import Logging
package import Postgres
package import SettingsKit

/// Creates connection pools from the settings.
package enum Databases {
  /// Creates a pool.
  /// - Parameters:
  ///   - url: the URL of the database.
  ///   - settings: the settings of every pool.
  ///   - name: the pool's name, in metrics and as `application_name`.
  ///   - size: the maximum number of connections.
  ///   - timeout: the time limit of one statement; nil for `DATABASE_TIMEOUT`.
  ///   - logger: gets lost connections.
  ///   - onConnect: prepares each new connection.
  package static func pool(
    url: String, _ settings: Settings, name: String, size: Int, timeout: Duration? = nil, logger: Logger,
    onConnect: @escaping @Sendable (PostgresConnection) async throws -> Void = { _ in }
  ) throws(SettingError) -> PostgresPool {
    let usual = try settings[CommonSettings.statementTimeout]
    return PostgresPool(
      PostgresConfiguration(url: url, applicationName: name, statementTimeout: timeout ?? usual),
      limits: PostgresPool.Limits(size: size, acquireTimeout: try settings[CommonSettings.acquireTimeout]),
      logger: logger, onConnect: onConnect)
  }

  /// Returns a pool with one connection for a task that polls, separate from the connections of the requests.
  /// - Parameters:
  ///   - url: the URL of the database.
  ///   - name: the pool's name, in metrics and as `application_name`.
  ///   - timeout: the time limit of one poll.
  ///   - logger: gets lost connections.
  package static func watch(url: String, name: String, timeout: Duration, logger: Logger) -> PostgresPool {
    PostgresPool(
      PostgresConfiguration(url: url, applicationName: name, statementTimeout: timeout),
      limits: PostgresPool.Limits(size: 1, acquireTimeout: .seconds(1)), logger: logger)
  }

  /// Creates a pool of `DATABASE_POOL_SIZE` connections.
  /// - Parameters:
  ///   - url: the setting with the URL of the database.
  ///   - settings: the settings of the process.
  ///   - name: the pool's name, in metrics and as `application_name`.
  ///   - logger: gets lost connections.
  ///   - minimum: the number of connections that the process needs; it replaces a lower `DATABASE_POOL_SIZE`.
  ///   - timeout: the time limit of one statement; nil for `DATABASE_TIMEOUT`.
  ///   - onConnect: prepares each new connection.
  package static func pool(
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
  /// Checks that the database answers, that its schemas are new enough for this build, and that this build is new enough
  /// for them.
  /// - Parameters:
  ///   - name: the name that `/readyz` lists if the check fails.
  ///   - pool: connections to the database.
  ///   - schemas: the schemas that this build needs.
  ///   - problem: returns any other problem of the database; nil if there is none.
  package static func database(
    _ name: String, _ pool: PostgresPool, _ schemas: [Schema],
    problem: @escaping @Sendable (PostgresPool) async throws -> String? = { _ in nil }
  ) -> HealthCheck {
    var check = HealthCheck(name) { [program = OperatorProgram.name] in
      if let refusal = try await pool.withConnection({ try await $0.refusal(of: schemas) }) {
        throw NotReady("\(refusal)")
      }
      for schema in schemas {
        let version = try await pool.withConnection { try await $0.version(of: schema) }
        guard version >= schema.version else {
          throw NotReady(
            "the schema \(schema.name) is at version \(version) and \(schema.version) is needed; run \(program) migrate"
          )
        }
      }
      if let problem = try await problem(pool) { throw NotReady(problem) }
    }
    check.refusal = { try await pool.withConnection { try await $0.refusal(of: schemas)?.description } }
    return check
  }

  /// Checks that this build is new enough for the schemas. A database that does not answer fails no check.
  package static func permit(_ name: String, _ pool: PostgresPool, _ schemas: [Schema]) -> HealthCheck {
    let refusal = { @Sendable in try await pool.withConnection { try await $0.refusal(of: schemas)?.description } }
    var check = HealthCheck(name) {
      let found: String?
      // That the database does not answer is for others to say.
      do { found = try await refusal() } catch { return }
      if let found { throw NotReady(found) }
    }
    check.refusal = refusal
    return check
  }

  /// Checks that at least one of several servers answers and has the schemas.
  package static func anyDatabase(
    _ name: String, _ pools: [PostgresPool], _ schemas: [Schema],
    problem: @escaping @Sendable (PostgresPool) async throws -> String? = { _ in nil }
  ) -> HealthCheck {
    let checks = pools.map { HealthCheck.database(name, $0, schemas, problem: problem) }
    var any = HealthCheck(name) { try await first(of: checks) { _ = try await $0.check() } }
    // The servers are copies of one database: the first one that answers tells.
    any.refusal = { try await first(of: checks) { try await $0.refusal?() } }
    return any
  }

  /// Returns what the first check says that does not fail.
  /// - Throws: the error of the last one, if all fail.
  private static func first<Answer>(
    of checks: [HealthCheck], _ body: (HealthCheck) async throws -> Answer
  ) async throws -> Answer {
    var failure: any Error = NotReady("there is no server")
    for check in checks {
      do { return try await body(check) } catch { failure = error }
    }
    throw failure
  }
}
