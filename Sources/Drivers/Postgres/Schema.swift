/// One step of a schema: SQL that runs once, inside a transaction.
public struct Migration: Sendable {
  public let version: Int
  public let name: String
  public let sql: String
  /// The oldest builds that may run after this migration; nil if it stops none, because it only adds.
  public let oldest: OldestBuild?

  /// - Parameter oldest: the oldest builds that may run after this migration; nil if it stops none. A migration that
  ///   removes or changes what an older build uses names the first build that no longer does so.
  public init(version: Int, name: String, sql: String, oldest: OldestBuild? = nil) {
    self.version = version
    self.name = name
    self.sql = sql
    self.oldest = oldest
  }
}

/// The oldest builds that may run beside a schema: those that have at least this version of it.
public struct OldestBuild: Sendable, Hashable {
  /// The last migration that the build has.
  public let schemaVersion: Int
  /// The first release with that migration.
  public let program: PackageVersion

  public init(schemaVersion: Int, program: PackageVersion) {
    self.schemaVersion = schemaVersion
    self.program = program
  }

  /// Every build: nothing has been removed since the first release.
  static let any = OldestBuild(schemaVersion: 1, program: PackageVersion("0.1.0-dev")!)  // It has the right form.
}

/// A schema and its history. Several schemas may share a database; each has a different name.
public struct Schema: Sendable {
  public let name: String
  public let migrations: [Migration]
  /// SQL that runs after the migrations: the current functions, and the rights of each role. An older build leaves
  /// those of a newer one as they are.
  public let afterwards: [String]
  /// SQL that runs last, every time, and finds out by itself whether a newer build was there before.
  public let declarations: [String]

  /// - Precondition: the versions are 1, 2, 3, …. The oldest builds have a version up to that of their migration, and
  ///   are never older than those of an earlier migration.
  public init(name: String, migrations: [Migration], afterwards: [String] = [], declarations: [String] = []) {
    precondition(migrations.map(\.version) == Array(1..<migrations.count + 1), "versions must be dense from 1")
    var oldest = 1
    for migration in migrations {
      guard let own = migration.oldest?.schemaVersion else { continue }
      precondition((oldest...migration.version).contains(own), "the oldest builds grow, up to the migration's own")
      oldest = own
    }
    self.name = name
    self.migrations = migrations
    self.afterwards = afterwards
    self.declarations = declarations
  }

  public var version: Int { migrations.count }

  /// The oldest builds that may run beside it.
  public var oldest: OldestBuild { migrations.compactMap(\.oldest).last ?? .any }
}
