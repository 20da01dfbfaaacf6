internal import Foundation
public import Logging
public import Postgres
public import Testing

/// The database of one test.
public struct FreshDatabase: Sendable {
  /// The database of the write store.
  @TaskLocal public static var current: FreshDatabase!
  /// The database of the read store: the same one, except with `.freshStores`.
  @TaskLocal public static var readStore: FreshDatabase!

  public let name: String

  public init(name: String) { self.name = name }

  public var url: String {
    var components = URLComponents(string: TestEnvironment.postgresURL)!
    components.path = "/" + name
    return components.string!
  }

  public var configuration: PostgresConfiguration {
    PostgresConfiguration(url: url, applicationName: name, connectTimeout: .seconds(30), cancelGrace: .seconds(30))
  }

  public func connect() async throws -> PostgresConnection { try await PostgresConnection.connect(configuration) }

  public func pool(_ limits: PostgresPool.Limits = .init(size: 4, acquireTimeout: .seconds(20))) -> PostgresPool {
    PostgresPool(configuration, limits: limits, logger: .quiet)
  }
}

/// Gives each test case its own database with the given schemas, or two databases, the second for the read store.
public struct FreshDatabaseTrait: TestTrait, TestScoping {
  let schemas: [Schema]
  var hasReadStore = false

  public func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    guard TestEnvironment.hasServers else { return try await function() }
    let database = FreshDatabase(name: TestEnvironment.uniqueName("test"))
    let readStore = hasReadStore ? FreshDatabase(name: database.name + "_read") : database
    let names = [database.name, readStore.name]
    try await TestScope.run(for: test, testCase) {
      try await make(database, Set(names))
      try await FreshDatabase.$current.withValue(database) {
        try await FreshDatabase.$readStore.withValue(readStore) { try await function() }
      }
    } tearDown: {
      // Not dropped: a drop makes the server write everything out, which delays other tests for seconds. The next run
      // removes the whole server.
      try await administer {
        try await $0.query(
          "select pg_terminate_backend(pid) from pg_stat_activity where datname = any(\(array: names))")
      }
    }
  }

  private func make(_ database: FreshDatabase, _ names: Set<String>) async throws {
    try await administer { for name in names { try await $0.execute("create database \(name)") } }
    guard !schemas.isEmpty else { return }
    let connection = try await database.connect()
    for schema in schemas { _ = try await connection.migrate(schema) }
    await connection.close()
  }

  private func administer(_ body: (PostgresConnection) async throws -> Void) async throws {
    let admin = try await PostgresConnection.connect(
      PostgresConfiguration(url: TestEnvironment.postgresURL, connectTimeout: .seconds(30)))
    let result: Result<Void, any Error>
    do { result = .success(try await body(admin)) } catch { result = .failure(error) }
    await admin.close()
    try result.get()
  }
}

extension Trait where Self == FreshDatabaseTrait {
  /// One database for both stores.
  public static func freshDatabase(_ schemas: Schema...) -> Self { FreshDatabaseTrait(schemas: schemas) }
  /// Separate databases for the write store and the read store.
  public static var freshStores: Self { FreshDatabaseTrait(schemas: [], hasReadStore: true) }
}

extension Logger {
  /// A logger that hides expected errors. LOG_TESTS=1 shows them.
  public static var quiet: Logger {
    guard TestEnvironment.variables["LOG_TESTS"] == nil else { return Logger(label: "test") }
    return Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
  }
}
