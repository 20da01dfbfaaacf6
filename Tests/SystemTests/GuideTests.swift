import Foundation
import JSON
import Postgres
import TestSupport
import Testing

/// Follows docs/guide as a reader does. Its code is compiled and tested with the examples.
@Suite("The guide", .tags(.system))
struct GuideTests {
  @Test("A folder with the first page's files is a package with a program and tests")
  func package() async throws {
    let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("guide"))
    let bank = folder.appendingPathComponent("bank")
    let guide = TestEnvironment.root.appendingPathComponent("Examples/Guide")
    for part in ["Sources", "Tests"] {
      try FileManager.default.createDirectory(
        at: bank.appendingPathComponent(part), withIntermediateDirectories: true)
    }
    try FileManager.default.copyItem(
      at: guide.appendingPathComponent("Package.swift.txt"), to: bank.appendingPathComponent("Package.swift"))
    try FileManager.default.copyItem(
      at: guide.appendingPathComponent("First/Bank.swift"), to: bank.appendingPathComponent("Sources/Bank.swift"))
    let swift = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/env"), ["swift", "package", "--package-path", bank.path, "dump-package"],
      environment: ProcessInfo.processInfo.environment)
    #expect(try await swift.wait() == 0, "\(swift.output)")
    // Other lines, such as a notice of the cache, may come before the package.
    let package = try JSON(parsing: Array(swift.output.drop { $0 != "{" }.utf8))
    #expect(package["targets"]?.array?.map { $0["name"] } == ["bank", "BankTests"])
    #expect(package["targets"]?.array?.map { $0["path"] } == ["Sources", "Tests"])
  }

  @Test("Each request of the pages gets the answer that the page shows", .needsServers, .freshDatabase())
  func requests() async throws {
    let first = try await RunningService.development(of: "first-bank")
    try await read("first-domain", with: first, "first-bank")
    try await read("consistency", with: first, "first-bank")
    first.process.signal(SIGTERM)
    #expect(try await first.process.wait() == 0, "\(first.process.output)")

    let grown = try await RunningService.development(of: "grown-bank")
    try await read("read-models", with: grown, "grown-bank")
    try await read("changing-events", with: grown, "grown-bank")

    let owner = try await FreshDatabase.current.connect()
    try await eventually("the reaction has begun") {
      try await owner.query(
        "select count(*) from projections.checkpoints where projection = 'reaction/bill-deadlines' and owner is not null"
      ).value(Int.self) == 16
    }
    let (before, after) = try GuidePage("reactions").split(after: "/bills/b2")
    try await reader(of: grown, "grown-bank").run(before)
    try await eventually("the unpaid bill expires once its time is over") {
      try await owner.query("update event_store.deadlines set due_at = clock_timestamp()")
      return try await owner.query("select count(*) from event_store.events where type = 'BillExpired'").value(Int.self)
        == 1
    }
    try await reader(of: grown, "grown-bank").run(after)
  }

  @Test(
    "With one process per role and a killed projector, the page about running shows what happens",
    .needsServers, .freshStores)
  func running() async throws {
    let system = System(of: "grown-bank", settings: ["EVENT_FEED": "postgres"])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let projector = try await system.startReady(.projector)
    let queries = try await system.startReady(.queryService)
    for service in [System.Service.projector, .reactor] { try await system.startReady(service) }
    let reader = try GuideReader(
      "grown-bank",
      [("http://127.0.0.1:8081", commands.http.base), ("http://127.0.0.1:8082", queries.http.base)],
      settings: [
        System.Store.write.rawValue: FreshDatabase.current.url, System.Store.read.rawValue: FreshDatabase.readStore.url,
        "PROJECTOR": "\(projector.process.pid)",
      ])
    try await reader.run(GuidePage("running").steps)
    #expect(try await projector.process.wait() == 128 + SIGKILL)
  }

  private func reader(of service: RunningService, _ program: String) throws -> GuideReader {
    let url = FreshDatabase.current.url
    return try GuideReader(
      program, [("http://127.0.0.1:8080", service.http.base)],
      settings: [System.Store.write.rawValue: url, System.Store.read.rawValue: url])
  }

  private func read(_ page: String, with service: RunningService, _ program: String) async throws {
    let steps = try GuidePage(page).steps
    #expect(!steps.isEmpty)
    try await reader(of: service, program).run(steps)
  }
}
