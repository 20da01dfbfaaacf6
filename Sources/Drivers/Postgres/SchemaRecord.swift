/// Who migrated a schema last, and who may run beside it.
public struct SchemaRecord: Sendable, Hashable {
  public let schema: String
  /// The version of the schema.
  public let version: Int
  /// The build that migrated it last, such as `0.2.0`.
  public let program: String
  /// The oldest version of the schema whose builds may run beside it.
  public let oldestVersion: Int
  /// The first release with that version.
  public let oldestProgram: String

  /// Returns why a build with this schema may not run beside it; nil if it may.
  public func refusal(of schema: Schema, _ build: PackageVersion = .current) -> OutdatedBuild? {
    schema.version < oldestVersion ? OutdatedBuild(record: self, known: schema.version, build: build) : nil
  }

  /// Whether a newer build than this one has migrated it. A text that is no version is one that a newer build writes.
  func isNewer(than schema: Schema, _ build: PackageVersion) -> Bool {
    version > schema.version || PackageVersion(program).map { $0 > build } ?? true
  }
}

/// A build is older than any that may run beside a schema.
public struct OutdatedBuild: Error, Sendable, Hashable, CustomStringConvertible {
  let record: SchemaRecord
  /// The build's own version of the schema.
  let known: Int
  let build: PackageVersion

  public var description: String {
    "this is version \(build), which knows version \(known) of the schema \(record.schema). Version \(record.program) has migrated it to version \(record.version), and only \(record.oldestProgram) or newer may run beside that. Deploy version \(record.program)"
  }
}

extension PostgresConnection {
  /// Returns the records of those schemas that have one. A database that no build since 0.1.0 has migrated has none.
  public func records(of schemas: [Schema]) throws(PostgresError) -> [SchemaRecord] {
    do throws(PostgresError) {
      return try query(
        """
        select schema, version, program, oldest_version, oldest_program from public.counterflow_schemas
        where schema = any(\(array: schemas.map(\.name))) order by schema
        """
      ).decode((String, Int, String, Int, String).self).map {
        SchemaRecord(schema: $0.0, version: $0.1, program: $0.2, oldestVersion: $0.3, oldestProgram: $0.4)
      }
    } catch {
      guard error.sqlState == .undefinedTable else { throw error }
      return []
    }
  }

  /// Returns why this build may not run beside one of these schemas; nil if it may.
  public func refusal(of schemas: [Schema]) throws(PostgresError) -> OutdatedBuild? {
    let known = try records(of: schemas)
    return schemas.lazy.compactMap { schema in
      known.first { $0.schema == schema.name }?.refusal(of: schema)
    }.first
  }
}
