internal import ArgumentParser
internal import Foundation
internal import HTTPKit
internal import Postgres
internal import PostgresEventStore
internal import Projections
internal import ServiceKit
package import SettingsKit

/// Creates or updates the schemas of both databases.
struct Migrate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Creates or updates the schemas of both databases.",
    discussion: """
      Run it before new services start. You may run it again, and from several processes at once. What a newer version has \
      migrated stays as it is.

      It also creates a database role for each service, with the rights that the service needs and no others. A role may \
      log in if its password is set: COMMAND_DATABASE_PASSWORD, RELAY_DATABASE_PASSWORD, PROJECTOR_DATABASE_PASSWORD, \
      QUERY_DATABASE_PASSWORD, REACTOR_DATABASE_PASSWORD. The user of the URLs must be allowed to create roles.
      """)

  @Option(help: "Seconds to wait for a database that does not answer yet.")
  var wait = 30

  func validate() throws {
    guard (0...3600).contains(wait) else { throw ValidationError("--wait takes 0 to 3600 seconds") }
  }

  func run() async throws {
    try await reportingSettings {
      try await Administration.current.migrate(Settings(), wait: .seconds(wait)) { print($0) }
    }
  }
}

extension Administration {
  /// Brings both databases' schemas to this build's version, and makes the services' roles.
  /// - Parameters:
  ///   - wait: how long to wait for a database that does not answer yet.
  ///   - say: called with one line for each step.
  package func migrate(_ settings: Settings, wait: Duration, _ say: (String) -> Void) async throws {
    let passwords = try ServiceRole.allCases.compactMap { role in
      try settings[role.password].map { (role, $0) }
    }
    let stores = [
      (
        name: "write store", url: try settings[CommonSettings.writeDatabaseURL],
        schemas: writeStoreSchemas, passwords: passwords
      ),
      (
        name: "read store", url: try settings[CommonSettings.readDatabaseURL],
        schemas: readStoreSchemas,
        passwords: passwords.filter { $0.0.usesReadStore }
      ),
    ]
    // A build that is too old for one of them changes neither.
    for store in stores { try await checkPermit(store.url, store.schemas, wait) }
    for store in stores { try await migrate(store.name, store.url, store.schemas, store.passwords, wait, say) }
  }

  /// - Throws: `OutdatedBuild` if this build is too old for one of the schemas.
  private func checkPermit(_ url: String, _ schemas: [Schema], _ wait: Duration) async throws {
    let connection = try await connectPatiently(
      PostgresConfiguration(url: url, applicationName: program), for: wait)
    if let refusal = try await connection.refusal(of: schemas) { throw refusal }
    await connection.close()
  }

  private func migrate(
    _ name: String, _ url: String, _ schemas: [Schema], _ passwords: [(ServiceRole, String)], _ wait: Duration,
    _ say: (String) -> Void
  ) async throws {
    let connection = try await connectPatiently(
      PostgresConfiguration(url: url, applicationName: program), for: wait)
    for schema in schemas {
      let applied = try await connection.migrate(schema)
      for migration in applied { say("\(name): applied \(migration)") }
      if applied.isEmpty { say("\(name): \(try await connection.state(of: schema))") }
    }
    do { try await connection.execute(Self.restrictions) } catch {
      guard error.sqlState == .insufficientPrivilege else { throw error }
      say(
        "\(name): \(error.message); only a superuser can revoke the rights that PostgreSQL gives everybody by default")
    }
    for (role, password) in passwords {
      try await connection.allowLogin(role.name, password: password)
      say("\(name): \(role.name) may log in")
    }
    await connection.close()
  }

  /// Revokes rights that PostgreSQL gives everybody in a new database, and that no service needs: temporary tables,
  /// large objects, and advisory locks, with which a role that only reads could block appends.
  private static let restrictions = """
    do $$
    declare
      function regprocedure;
    begin
      -- One migration at a time.
      perform pg_advisory_xact_lock(731002922);
      execute format('revoke temporary on database %I from public', current_database());
      for function in
        select p.oid from pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace and has_function_privilege('public', p.oid, 'execute')
          and p.proname ~ '^(pg_(try_)?advisory_|lo_(create|creat|from_bytea|put|open|unlink)$|lowrite$|lo_truncate)'
      loop
        execute format('grant execute on function %s to %I', function, current_user);
        execute format('revoke execute on function %s from public', function);
      end loop;
    end
    $$
    """
}

extension PostgresConnection {
  /// Says at which version a schema is to which nothing was applied.
  fileprivate func state(of schema: Schema) throws(PostgresError) -> String {
    guard let record = try records(of: [schema]).first, record.version > schema.version else {
      return "\(schema.name) is already at version \(schema.version)"
    }
    return "\(schema.name) stays at version \(record.version), which Counterflow \(record.program) made"
  }
}

/// The database roles of the services; `migrate` makes them.
enum ServiceRole: String, CaseIterable {
  case command, relay, projector, query, reactor

  var name: String { "counterflow_\(rawValue)" }
  var usesReadStore: Bool { self == .projector || self == .query }

  var password: Setting<String?> {
    Setting(
      "\(rawValue.uppercased())_DATABASE_PASSWORD", default: "", allowed: "a password",
      help: "The password of the role \(name); without it, the role is not changed.", isSecret: true
    ) { $0.isEmpty ? .some(nil) : $0 }
  }
}
