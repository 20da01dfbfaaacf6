internal import Glibc

public enum MigrationError: Error, CustomStringConvertible {
  case changed(schema: String, version: Int)
  /// This build is older than any that may run beside the schema.
  case outdated(OutdatedBuild)

  public var description: String {
    switch self {
    case .changed(let schema, let version):
      "migration \(version) of \(schema) was applied with other text than this build has; restore the file as it was and add a new migration instead"
    case .outdated(let build): build.description
    }
  }
}

extension PostgresConnection {
  /// Any constant works, if all processes that migrate use the same one.
  private static let migrationLock: Int64 = 0x636f_756e_7465_7266

  /// Applies the missing migrations in one transaction, and records which build did so. It is safe to repeat, and safe
  /// from several processes at once: a lock admits one at a time, and the others then find nothing to do.
  ///
  /// If a newer build has migrated before, the schema stays as it is.
  /// - Parameter program: the version of the build that migrates.
  /// - Returns: the names of the migrations that were applied.
  /// - Throws: `MigrationError`, `PostgresError`.
  public func migrate(_ schema: Schema, by program: PackageVersion = .current) throws -> [String] {
    // The rights of roles are in catalogs of the whole server: a migration of another database may change the same row
    // at this moment.
    var attempts = 0
    while true {
      do { return try migrateOnce(schema, program) } catch let error as PostgresError {
        attempts += 1
        guard attempts < 20, error.message.contains("tuple concurrently") else { throw error }
        // On the thread of this connection, which has nothing else to do.
        usleep(UInt32.random(in: 10_000...200_000))
      }
    }
  }

  private func migrateOnce(_ schema: Schema, _ program: PackageVersion) throws -> [String] {
    try transaction { connection in
      let lock = Self.migrationLock
      try connection.query("select pg_advisory_xact_lock(\(lock))", timeout: .seconds(120))
      try connection.execute(
        """
        create table if not exists public.counterflow_migrations (
          schema text not null, version integer not null, name text not null, checksum text not null,
          applied_at timestamptz not null default clock_timestamp(), primary key (schema, version))
        """)
      try connection.execute(
        """
        create table if not exists public.counterflow_schemas (
          schema text primary key, version integer not null, program text not null,
          oldest_version integer not null, oldest_program text not null,
          migrated_at timestamptz not null default clock_timestamp())
        """)
      let record = try connection.records(of: [schema]).first
      if let outdated = record?.refusal(of: schema, program) { throw MigrationError.outdated(outdated) }
      let names = try connection.applyMissing(of: schema)
      // The functions of a newer build are not those of this one.
      if !names.isEmpty || record?.isNewer(than: schema, program) != true {
        for sql in schema.afterwards { try connection.execute(sql) }
        try connection.record(schema, program)
      }
      for sql in schema.declarations { try connection.execute(sql) }
      return names
    }
  }

  private func applyMissing(of schema: Schema) throws -> [String] {
    let applied = try query(
      "select version, checksum from public.counterflow_migrations where schema = \(schema.name)"
    ).decode((Int, String).self)
    let checksums = Dictionary(uniqueKeysWithValues: applied.map { ($0.0, $0.1) })
    var names: [String] = []
    for migration in schema.migrations {
      let checksum = try query("select md5(\(migration.sql))").value(String.self)
      if let known = checksums[migration.version] {
        guard known == checksum else { throw MigrationError.changed(schema: schema.name, version: migration.version) }
        continue
      }
      try execute(migration.sql, timeout: .seconds(600))
      try query(
        """
        insert into public.counterflow_migrations (schema, version, name, checksum)
        values (\(schema.name), \(migration.version), \(migration.name), \(checksum))
        """)
      names.append("\(schema.name) \(migration.version) \(migration.name)")
    }
    return names
  }

  /// Records who has migrated. The row changes only if one of its values does.
  private func record(_ schema: Schema, _ program: PackageVersion) throws {
    let oldest = schema.oldest
    try query(
      """
      insert into public.counterflow_schemas as s (schema, version, program, oldest_version, oldest_program)
      values (\(schema.name), \(schema.version), \(program.description), \(oldest.schemaVersion), \(oldest.program.description))
      on conflict (schema) do update
      set version = excluded.version, program = excluded.program, oldest_version = excluded.oldest_version,
        oldest_program = excluded.oldest_program, migrated_at = clock_timestamp()
      where (s.version, s.program, s.oldest_version, s.oldest_program)
        is distinct from (excluded.version, excluded.program, excluded.oldest_version, excluded.oldest_program)
      """)
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
