internal import Foundation
public import Logging
public import Postgres
public import Testing

/// A database of a test's own.
public struct FreshDatabase: Sendable {
  @TaskLocal public static var current: FreshDatabase!

  public let name: String

  public init(name: String) { self.name = name }

  public var url: String {
    var components = URLComponents(string: TestEnvironment.postgresURL)!
    components.path = "/" + name
    return components.string!
  }

  public var configuration: PostgresConfiguration {
    PostgresConfiguration(url: url, applicationName: name, connectTimeout: .seconds(30))
  }

  public func connect() async throws -> PostgresConnection { try await PostgresConnection.connect(configuration) }

  public func pool(_ limits: PostgresPool.Limits = .init(size: 4, acquireTimeout: .seconds(20))) -> PostgresPool {
    PostgresPool(configuration, limits: limits, logger: .quiet)
  }
}

/// Gives each test (case) a database of its own, with the given schemas in it.
public struct FreshDatabaseTrait: TestTrait, TestScoping {
  let schemas: [Schema]

  public func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    guard TestEnvironment.hasServers else { return try await function() }
    try await Room.ofServers.run { try await provide(function) }
  }

  private func provide(_ function: @Sendable () async throws -> Void) async throws {
    let database = FreshDatabase(name: TestEnvironment.uniqueName("test"))
    let admin = try await PostgresConnection.connect(
      PostgresConfiguration(url: TestEnvironment.postgresURL, connectTimeout: .seconds(30)))
    try await admin.execute("create database \(database.name)")
    if !schemas.isEmpty {
      let connection = try await database.connect()
      for schema in schemas { _ = try await connection.migrate(schema) }
      await connection.close()
    }
    let result: Result<Void, any Error>
    do {
      try await FreshDatabase.$current.withValue(database) { try await function() }
      result = .success(())
    } catch { result = .failure(error) }
    // Not dropped: that makes the server write everything out, for seconds, while other tests wait. The whole
    // server goes before the next run.
    try await admin.query("select pg_terminate_backend(pid) from pg_stat_activity where datname = \(database.name)")
    await admin.close()
    try result.get()
  }
}

extension Trait where Self == FreshDatabaseTrait {
  public static func freshDatabase(_ schemas: Schema...) -> Self { FreshDatabaseTrait(schemas: schemas) }
}

extension Logger {
  /// For tests: what goes wrong on purpose need not fill the output. LOG_TESTS=1 shows it.
  public static var quiet: Logger {
    guard TestEnvironment.variables["LOG_TESTS"] == nil else { return Logger(label: "test") }
    return Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
  }
}
