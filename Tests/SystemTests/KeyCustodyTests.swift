import Foundation
import JSON
import Postgres
import PostgresEventStore
import TestSupport
import Testing

@testable import ServiceKit
@testable import SettingsKit

@Suite("Custody of personal keys", .tags(.system), .needsServers)
struct KeyCustodyTests {
  private static func key(_ byte: UInt8) -> String { Data(repeating: byte, count: 32).base64EncodedString() }

  private func file(_ text: String, isProgram: Bool = false) throws -> String {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try Data(text.utf8).write(to: file)
    if isProgram { try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: file.path) }
    return file.path
  }

  @Test(
    "While keys of persons are wrapped by another key, services read and write; one without it says so and erases nobody",
    .freshStores)
  func rotation() async throws {
    let old = try file("plain a:\(Self.key(1))\n")
    let system = System(settings: ["EVENT_FEED": "postgres"])
    try await system.migrate()
    func counterflow(_ keys: String, _ arguments: String...) async throws -> (status: Int32, output: String) {
      let process = try system.run("counterflow", arguments, settings: ["PERSONAL_KEY": keys])
      return (try await process.wait(), process.output)
    }
    // Before the first key wraps anything, every process has it.
    let commands = try await system.startReady(.commandService, settings: ["PERSONAL_KEY_FILE": old])
    let first = try await system.startReady(.projector, settings: ["PERSONAL_KEY_FILE": old])
    let program = try file("#!/bin/sh\necho 'b:\(Self.key(2)) a:\(Self.key(1))'\n", isProgram: true)
    let queries = try await system.startReady(.queryService, settings: ["PERSONAL_KEY_COMMAND": program])
    let without = try await system.startReady(.queryService)
    func register(_ id: String, with service: RunningService) async throws {
      let customer: JSON = ["customerId": .string(id), "name": .string("Name of \(id)"), "country": "England"]
      #expect(try await service.http.post("/v1/customers", customer).status == 201)
    }
    func name(_ id: String, from service: RunningService) async throws -> JSON? {
      try await service.http.get("/v1/customers/\(id)?version=1").json["name"]
    }
    try await register("ada", with: commands)
    #expect(try await name("ada", from: without) == "Name of ada")

    let rewrapped = try await counterflow("a:\(Self.key(1))", "keys", "--rewrap")
    #expect(rewrapped.status == 0 && rewrapped.output.contains("1 keys of persons were wrapped again"), "\(rewrapped)")
    try await register("bob", with: commands)
    #expect(try await counterflow("a:\(Self.key(1))", "keys").status == 1, "the key of bob is not wrapped yet")
    let both = "b:\(Self.key(2)) a:\(Self.key(1))"
    #expect(try await counterflow(both, "keys", "--rewrap").status == 0)
    #expect(try await counterflow(both, "keys").status == 0)
    let unknown = try await counterflow("a:\(Self.key(1))", "keys", "--rewrap")
    #expect(unknown.status != 0 && unknown.output.contains("wrapped by b"), "\(unknown.output)")
    for id in ["ada", "bob"] { #expect(try await name(id, from: queries) == .string("Name of \(id)")) }

    // These processes do not have b. They fail, and write nothing.
    let refused = try await without.http.get("/v1/customers/ada?version=1")
    #expect(refused.status == 503 && refused.problem == "unavailable", "\(refused.text)")
    try await eventually("the log says why") { without.process.output.contains("key-encryption key b") }
    let change: JSON = ["name": "Another name"]
    let changed = try await commands.http.send(
      "PATCH", "/v1/customers/ada", body: change.encoded, contentType: "application/json")
    #expect(changed.status == 503, "\(changed.text)")
    let renewed = try await system.startReady(.commandService, settings: ["PERSONAL_KEY": both])
    try await register("eve", with: renewed)
    #expect(
      try await renewed.http.send(
        "PATCH", "/v1/customers/ada", body: change.encoded, contentType: "application/json"
      ).status == 200)
    // The projector stops before that event, too. With the key, it goes on: it has written no row without a name.
    try await eventually("the log of the projector says why") {
      first.process.output.contains("key-encryption key b")
    }
    first.process.signal(SIGTERM)
    try await first.process.wait()
    try await system.startReady(.projector, settings: ["PERSONAL_KEY": both])
    #expect(try await queries.http.get("/v1/customers/eve", until: 200).json["name"] == "Name of eve")
    for service in [commands, queries, without, renewed] {
      #expect(!service.process.output.contains(Self.key(1)) && !service.process.output.contains(Self.key(2)))
    }
  }

  @Test("A program prints the keys; if it fails, is late or prints something else, the process does not start")
  func program() throws {
    func read(_ variables: [String: String]) throws -> KeyEncryptionKeys {
      try PersonalKeySettings.read(Settings(variables))
    }
    let good = try file("#!/bin/sh\necho \"$1:\(Self.key(3))\"\n", isProgram: true)
    #expect(try read(["PERSONAL_KEY_COMMAND": "\(good) first"]).wrappingID == "first")
    #expect(try read([:]).wrappingID == nil)
    let wrong = [
      ("/missing/program", "cannot be started"), ("program", "absolute path"),
      (try file("#!/bin/sh\nexit 3\n", isProgram: true), "ended with status 3"),
      (try file("#!/bin/sh\nkill -9 $$\n", isProgram: true), "ended with signal 9"),
      (try file("#!/bin/sh\necho \(Self.key(3))\n", isProgram: true), "is not ID:KEY"),
      (try file("#!/bin/sh\nprintf '\\377'\n", isProgram: true), "not UTF-8"),
      ("/bin/cat /dev/zero", "more than"),
    ]
    for (command, reason) in wrong {
      #expect {
        _ = try read(["PERSONAL_KEY_COMMAND": command])
      } throws: { "\($0)".contains(reason) && !"\($0)".contains(Self.key(3)) }
    }
    #expect {
      _ = try read(["PERSONAL_KEY_COMMAND": good, "PERSONAL_KEY": "a:\(Self.key(1))"])
    } throws: { "\($0)".contains("set one of them") }
    // One that hangs, and one that has closed its output and hangs. Both are killed, and so is what they have started.
    for script in ["sleep 600", "exec >&-\nsleep 600"] {
      let hanging = try file("#!/bin/sh\n\(script)\n", isProgram: true)
      #expect {
        _ = try ProgramOutput.run(hanging, within: .milliseconds(200))
      } throws: { "\($0)".contains("was killed") }
    }
  }
}
