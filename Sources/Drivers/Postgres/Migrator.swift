internal import Glibc

/// One step of a schema: SQL that runs once, inside a transaction.
public struct Migration: Sendable {
  public let version: Int
  public let name: String
  public let sql: String

  public init(version: Int, name: String, sql: String) {
    self.version = version
    self.name = name
    self.sql = sql
  }
}

/// A schema and its history. Several schemas may share a database; each has a different name.
public struct Schema: Sendable {
  public let name: String
  public let migrations: [Migration]
  /// SQL that runs after the migrations, every time: the current functions, and the rights of each role.
  public let afterwards: [String]

  /// - Precondition: the versions are 1, 2, 3, ….
  public init(name: String, migrations: [Migration], afterwards: [String] = []) {
    precondition(migrations.map(\.version) == Array(1..<migrations.count + 1), "versions must be dense from 1")
    self.name = name
    self.migrations = migrations
    self.afterwards = afterwards
  }

  public var version: Int { migrations.count }
}

public enum MigrationError: Error, CustomStringConvertible {
  case changed(schema: String, version: Int)

  public var description: String {
    switch self {
    case .changed(let schema, let version):
      "migration \(version) of \(schema) was applied with other text than this build has; restore the file as it was and add a new migration instead"
    }
  }
}

extension PostgresConnection {
  /// Any constant works, if all processes that migrate use the same one.
  private static let migrationLock: Int64 = 0x636f_756e_7465_7266

  /// Applies the missing migrations in one transaction. It is safe to repeat, and safe from several processes at once:
  /// a lock admits one at a time, and the others then find nothing to do.
  /// - Returns: the names of the migrations that were applied.
  public func migrate(_ schema: Schema) throws -> [String] {
    // The rights of roles are in catalogs of the whole server: a migration of another database may change the same row
    // at this moment.
    var attempts = 0
    while true {
      do { return try migrateOnce(schema) } catch let error as PostgresError {
        attempts += 1
        guard attempts < 20, error.message.contains("tuple concurrently") else { throw error }
        // On the thread of this connection, which has nothing else to do.
        usleep(UInt32.random(in: 10_000...200_000))
      }
    }
  }

  private func migrateOnce(_ schema: Schema) throws -> [String] {
    try transaction { connection in
      let lock = Self.migrationLock
      try connection.query("select pg_advisory_xact_lock(\(lock))", timeout: .seconds(120))
      try connection.execute(
        """
        create table if not exists public.counterflow_migrations (
          schema text not null, version integer not null, name text not null, checksum text not null,
          applied_at timestamptz not null default clock_timestamp(), primary key (schema, version))
        """)
      let applied = try connection.query(
        "select version, checksum from public.counterflow_migrations where schema = \(schema.name)"
      ).decode((Int, String).self)
      let checksums = Dictionary(uniqueKeysWithValues: applied.map { ($0.0, $0.1) })
      var names: [String] = []
      for migration in schema.migrations {
        let checksum = try connection.query("select md5(\(migration.sql))").value(String.self)
        if let known = checksums[migration.version] {
          guard known == checksum else { throw MigrationError.changed(schema: schema.name, version: migration.version) }
          continue
        }
        try connection.execute(migration.sql, timeout: .seconds(600))
        try connection.query(
          """
          insert into public.counterflow_migrations (schema, version, name, checksum)
          values (\(schema.name), \(migration.version), \(migration.name), \(checksum))
          """)
        names.append("\(schema.name) \(migration.version) \(migration.name)")
      }
      for sql in schema.afterwards { try connection.execute(sql) }
      return names
    }
  }

  /// Returns the version of `schema` in this database; 0 if it is not there.
  public func version(of schema: Schema) throws(PostgresError) -> Int {
    do throws(PostgresError) {
      return try query(
        "select coalesce(max(version), 0) from public.counterflow_migrations where schema = \(schema.name)"
      ).value(Int.self)
    } catch {
      guard error.sqlState == .undefinedTable else { throw error }
      return 0
    }
  }
}
