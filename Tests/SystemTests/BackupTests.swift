import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("scripts/backup", .tags(.system), .needsServers)
struct BackupTests {
  /// The folder of a server's backups, and the server's URL.
  private struct Backups {
    let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("backups"))
    let tools = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("tools"))
    let url: String

    /// PostgreSQL's tools are those of the servers, which may be in another Debian.
    init(of url: String) throws {
      self.url = url
      try FileManager.default.createDirectory(at: tools, withIntermediateDirectories: true)
      let serve = TestEnvironment.root.appendingPathComponent("scripts/lib/serve").path
      for tool in ["pg_basebackup", "pg_verifybackup", "pg_archivecleanup"] {
        let file = tools.appendingPathComponent(tool)
        try Data("#!/bin/sh\nCOUNTERFLOW_LOCAL='\(tools.path)' exec '\(serve)' \(tool) \"$@\"\n".utf8).write(to: file)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: file.path)
      }
    }

    func attempt(_ command: String, _ arguments: String...) async throws -> (status: Int32, output: String) {
      try await attempt([command, folder.path] + arguments)
    }

    private func attempt(_ arguments: [String]) async throws -> (status: Int32, output: String) {
      let process = try ChildProcess(
        TestEnvironment.root.appendingPathComponent("scripts/backup"), arguments,
        environment: ["WRITE_DATABASE_URL": url, "PG_BIN": tools.path])
      return (try await process.wait(), process.output)
    }

    @discardableResult
    func run(_ command: String, _ arguments: String...) async throws -> String {
      let (status, output) = try await attempt([command, folder.path] + arguments)
      guard status == 0 else { throw NeverHappened(description: "\(command): \(output)") }
      return output
    }

    func query(_ query: Query) async throws -> ResultSet {
      let connection = try await PostgresConnection.connect(PostgresConfiguration(url: url))
      let result = try await connection.query(query)
      await connection.close()
      return result
    }

    func answers() async throws {
      try await eventually("the server takes writes") {
        (try? await query("select not pg_is_in_recovery()").value(Bool.self)) == true
      }
    }
  }

  private func order(_ id: String) -> JSON {
    ["orderId": .string(id), "lines": [["sku": "LANTERN", "quantity": 1]]]
  }
  private func ids(_ prefix: String) -> [String] { (0..<5).map { "\(prefix)-\($0)" } }

  @Test(
    "A restore to a time has exactly the events up to it, and nothing is appended until it is declared", .freshStores,
    .freshVirtualHost)
  func pointInTime() async throws {
    let first = try PrivateServer(.postgres)
    let backups = try Backups(of: try await first.url())
    try await backups.answers()
    let early = try await backups.attempt("base")
    #expect(early.status == 1 && early.output.contains("run scripts/backup configure"), "\(early.output)")
    #expect(try await backups.run("configure").contains("Restart PostgreSQL"))
    try await first.stop()
    let second = try PrivateServer(.postgres, inPlaceOf: first)
    try await backups.answers()
    try await backups.run("check")
    try await backups.run("base")

    let system = System(writeURL: backups.url, readURL: FreshDatabase.readStore.url)
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    #expect(
      try await commands.http.post(
        "/v1/products", ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]
      ).status == 201)
    for id in ids("kept") { #expect(try await commands.http.post("/v1/orders", order(id)).status == 201) }
    // Only command-service runs, and nothing is under way.
    let (time, head) = try await backups.query(
      """
      select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), max(position)
      from event_store.events
      """
    ).decode((String, Int64).self)[0]
    for id in ids("lost") { #expect(try await commands.http.post("/v1/orders", order(id)).status == 201) }
    try await backups.run("check")
    try await backups.run("verify")
    try await second.stop()
    let data = try second.removeData()
    #expect(try await backups.run("restore", data.path, "--to", time).contains("counterflow restore-finished"))
    let again = try await backups.attempt("restore", data.path, "--latest")
    #expect(again.status == 1 && again.output.contains("is not empty"), "\(again.output)")

    _ = try PrivateServer(.postgres, inPlaceOf: second)
    try await backups.answers()
    func positions() async throws -> (Int64, Int64) {
      try await backups.query("select count(*), max(position) from event_store.events").decode((Int64, Int64).self)[0]
    }
    #expect(try await positions() == (head, head))
    // command-service has run all the time, and misses what it has appended.
    try await eventually("the loss is on record") {
      #expect(try await commands.http.post("/v1/orders", order("no")).status >= 500)
      return try await backups.query("select lost_event is not null from event_store.identity").value(Bool.self)
    }
    for id in ids("no") { #expect(try await commands.http.post("/v1/orders", order(id)).status >= 500) }
    #expect(try await positions() == (head, head))
    let finished = try system.run("counterflow", ["restore-finished"])
    #expect(try await finished.wait() == 0, "\(finished.output)")
    try await eventually("commands go on") { try await commands.http.post("/v1/orders", order("after")).status == 201 }
    // The lost orders do not exist any more, and the others do.
    for id in ids("lost") { #expect(try await commands.http.post("/v1/orders", order(id)).status == 201) }
    for id in ids("kept") { #expect(try await commands.http.post("/v1/orders", order(id)).status == 409) }
  }

  @Test("After a restore, pruning keeps the WAL of the new timeline, and no time without WAL is promised")
  func newTimeline() async throws {
    let first = try PrivateServer(.postgres)
    let backups = try Backups(of: try await first.url())
    try await backups.answers()
    try await backups.run("configure")
    try await first.stop()
    let second = try PrivateServer(.postgres, inPlaceOf: first)
    try await backups.answers()
    // As a backup leaves it that was killed.
    let killed = backups.folder.appendingPathComponent("base/20270301T143000Z.new")
    try FileManager.default.createDirectory(at: killed, withIntermediateDirectories: false)
    #expect(try await backups.run("base").contains("was killed: removed"))
    #expect(!FileManager.default.fileExists(atPath: killed.path))
    let time = try await backups.query(
      "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    ).value(String.self)
    // The second backup begins some segments after that time, and those of the new timeline begin before it.
    for _ in 0..<8 { try await backups.run("check") }
    func oneMore() async throws {
      // The names of base backups differ by the second.
      try await eventually("there is another backup") { try await backups.attempt("base").status == 0 }
    }
    try await oneMore()
    try await second.stop()
    let data = try second.removeData()
    try await backups.run("restore", data.path, "--to", time)

    let third = try PrivateServer(.postgres, inPlaceOf: second)
    try await backups.answers()
    try await backups.run("configure")
    try await third.stop()
    _ = try PrivateServer(.postgres, inPlaceOf: third)
    try await backups.answers()
    try await oneMore()
    try await backups.run("check")
    try await backups.run("prune", "--keep", "2")
    let verified = try await backups.run("verify")
    #expect(verified.contains("only to times of timeline 1, with --timeline 1"), "\(verified)")
    #expect(verified.contains("when 00000002"), "\(verified)")

    let wal = backups.folder.appendingPathComponent("wal")
    for name in try FileManager.default.contentsOfDirectory(atPath: wal.path)
    where name.wholeMatch(of: /00000002[0-9A-F]{16}/) != nil {
      try FileManager.default.removeItem(at: wal.appendingPathComponent(name))
    }
    let empty = try await backups.attempt("verify")
    #expect(empty.status == 1 && empty.output.contains("WAL is missing: 00000002"), "\(empty.output)")
  }

  @Test("Damage and gaps are found, pruning keeps what restores, and failing archiving is reported", .freshStores)
  func care() async throws {
    let first = try PrivateServer(.postgres)
    let backups = try Backups(of: try await first.url())
    try await backups.answers()
    try await backups.run("configure")
    try await first.stop()
    _ = try PrivateServer(.postgres, inPlaceOf: first)
    try await backups.answers()
    try await backups.run("base")
    try await backups.run("check")
    let wal = backups.folder.appendingPathComponent("wal")
    func segments() throws -> [String] {
      try FileManager.default.contentsOfDirectory(atPath: wal.path).filter { $0.wholeMatch(of: /[0-9A-F]{24}/) != nil }
        .sorted()
    }
    let old = try #require(try segments().first)
    // The names of base backups differ by the second.
    try await eventually("there is a second backup") { try await backups.attempt("base").status == 0 }
    for _ in 0..<2 { try await backups.run("check") }
    #expect(try await backups.run("prune", "--keep", "1").contains("removed: 2"))
    #expect(try !segments().contains(old))
    try await backups.run("verify")

    let last = try segments()
    let missing = wal.appendingPathComponent(last[last.count - 2])
    let moved = backups.folder.appendingPathComponent("moved")
    try FileManager.default.moveItem(at: missing, to: moved)
    let gap = try await backups.attempt("verify")
    #expect(gap.status == 1 && gap.output.contains("WAL is missing"), "\(gap.output)")
    try FileManager.default.moveItem(at: moved, to: missing)
    try await backups.run("verify")

    let base = try #require(
      try FileManager.default.contentsOfDirectory(
        at: backups.folder.appendingPathComponent("base"), includingPropertiesForKeys: nil, options: .skipsHiddenFiles
      ).first)
    let file = try FileHandle(forUpdating: base.appendingPathComponent("data/PG_VERSION"))
    try file.write(contentsOf: Data("9".utf8))
    try file.close()
    let damaged = try await backups.attempt("verify")
    #expect(damaged.status == 1 && damaged.output.contains("PG_VERSION"), "\(damaged.output)")

    // A file of that name with other content: another server archives here. After a write, the name is that of the segment
    // in use, not of the one before.
    _ = try await backups.query("create table filler (number bigint)")
    let next = try await backups.query("select pg_walfile_name(pg_current_wal_lsn())").value(String.self)
    try Data("other".utf8).write(to: wal.appendingPathComponent(next))
    let failing = try await backups.attempt("check", "--within", "2")
    #expect(failing.status == 1 && failing.output.contains("\(next) was not archived"), "\(failing.output)")
    let system = System(writeURL: backups.url, readURL: FreshDatabase.readStore.url)
    try await system.migrate()
    try await eventually("the status says so") {
      let status = try system.run("counterflow", ["status"])
      return try await status.wait() == 1 && status.output.contains("Its server fails to archive \(next)")
    }
    _ = try await backups.query("alter system set archive_command = ''")
    _ = try await backups.query("select pg_reload_conf()")
    try await eventually("the status says that nothing is archived") {
      let status = try system.run("counterflow", ["status"])
      return try await status.wait() == 1 && status.output.contains("archive_mode is on and archive_command is empty")
    }
  }
}
