import Postgres
import TestSupport
import Testing

@Suite("Versions of the package")
struct PackageVersionTests {
  @Test("Versions are ordered by number, and what is between releases comes before the release")
  func order() throws {
    let texts = ["0.1.0-dev", "0.1.0", "0.2.0-dev", "0.10.0", "1.0.0-dev", "1.0.0", "1.0.1"]
    let versions = try texts.map { try #require(PackageVersion($0)) }
    #expect(versions == versions.sorted() && Set(versions).count == versions.count)
    #expect(versions.map(\.description) == texts)
  }

  @Test(
    "Anything else is no version",
    arguments: ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.2.3-rc", "1..3", "v1.2.3", "1.2.3-", "-1.2.3", "1.2.3-dev-dev"])
  func malformed(_ text: String) { #expect(PackageVersion(text) == nil) }
}

@Suite("Builds beside a schema", .tags(.integration), .needsServers)
struct SchemaRecordTests {
  private static func version(_ text: String) throws -> PackageVersion { try #require(PackageVersion(text)) }

  private let table = Migration(version: 1, name: "table", sql: "create table things (id bigint)")

  private func function(_ answer: Int) -> String {
    "create or replace function answer() returns bigint language sql as 'select \(answer)::bigint'"
  }

  private func older() -> Schema { Schema(name: "things", migrations: [table], afterwards: [function(1)]) }

  /// - Parameter oldest: the oldest builds beside its second migration.
  private func newer(oldest: OldestBuild? = nil) -> Schema {
    let column = Migration(
      version: 2, name: "column", sql: "alter table things add column name text", oldest: oldest)
    return Schema(name: "things", migrations: [table, column], afterwards: [function(2)])
  }

  private func answer(_ connection: PostgresConnection) async throws -> Int {
    try await connection.query("select answer()").value(Int.self)
  }

  @Test("An older build that migrates leaves the functions of a newer one as they are", .freshDatabase())
  func older() async throws {
    let connection = try await FreshDatabase.current.connect()
    _ = try await connection.migrate(older(), by: Self.version("0.1.0"))
    #expect(try await answer(connection) == 1)
    #expect(try await connection.migrate(newer(), by: Self.version("0.2.0")).count == 1)
    #expect(try await connection.migrate(older(), by: Self.version("0.1.0")).isEmpty)
    #expect(try await answer(connection) == 2)
    let record = try #require(try await connection.records(of: [older()]).first)
    #expect(record.version == 2 && record.program == "0.2.0")
    #expect(record.oldestVersion == 1 && record.oldestProgram == "0.1.0-dev")
    #expect(try await connection.refusal(of: [older()]) == nil)
  }

  @Test("Of two builds with the same migrations, the newer one's functions stay", .freshDatabase())
  func functions() async throws {
    let connection = try await FreshDatabase.current.connect()
    let next = Schema(name: "things", migrations: [table], afterwards: [function(3)])
    _ = try await connection.migrate(next, by: Self.version("0.2.0"))
    _ = try await connection.migrate(older(), by: Self.version("0.2.0-dev"))
    #expect(try await answer(connection) == 3)
    _ = try await connection.migrate(older(), by: Self.version("0.2.0"))
    #expect(try await answer(connection) == 1)
  }

  @Test("Declarations run also where a newer build has migrated", .freshDatabase())
  func declarations() async throws {
    let connection = try await FreshDatabase.current.connect()
    _ = try await connection.migrate(newer(), by: Self.version("0.2.0"))
    let declaring = Schema(
      name: "things", migrations: [table], declarations: ["insert into things (id) values (7)"])
    _ = try await connection.migrate(declaring, by: Self.version("0.1.0"))
    #expect(try await connection.query("select id from things").value(Int.self) == 7)
  }

  @Test("A build that is too old is refused with the version to deploy, and changes nothing", .freshDatabase())
  func outdated() async throws {
    let connection = try await FreshDatabase.current.connect()
    _ = try await connection.migrate(older(), by: Self.version("0.1.0"))
    let oldest = OldestBuild(schemaVersion: 2, program: try Self.version("0.2.0"))
    _ = try await connection.migrate(newer(oldest: oldest), by: Self.version("0.3.0"))
    let refusal = try #require(try await connection.refusal(of: [older()]))
    #expect(
      "\(refusal)".contains("only 0.2.0 or newer") && "\(refusal)".hasSuffix("Deploy version 0.3.0"), "\(refusal)")
    await #expect(throws: MigrationError.self) { try await connection.migrate(older(), by: Self.version("0.1.0")) }
    #expect(try await answer(connection) == 2)
    #expect(try await connection.refusal(of: [newer()]) == nil)
  }

  @Test("A database without records refuses nobody", .freshDatabase())
  func unrecorded() async throws {
    let connection = try await FreshDatabase.current.connect()
    #expect(try await connection.records(of: [older()]).isEmpty)
    _ = try await connection.migrate(newer())
    try await connection.execute("drop table public.counterflow_schemas")
    #expect(try await connection.refusal(of: [older(), newer()]) == nil)
    _ = try await connection.migrate(newer())
    #expect(try await connection.records(of: [older()]).map(\.program) == ["\(PackageVersion.current)"])
  }
}
