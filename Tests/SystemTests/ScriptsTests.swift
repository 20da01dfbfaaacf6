import Foundation
import TestSupport
import Testing

/// A checkout with one source, and a `swift` that only records what it should build.
private struct FakeCheckout {
  let folder: URL
  var source: URL { folder.appendingPathComponent("Sources/App/main.swift") }
  var isLocked: URL { folder.appendingPathComponent("locked") }
  var fails: URL { folder.appendingPathComponent("fails") }

  init() throws {
    folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("checkout"))
    for part in ["Sources/App", "Benchmarks", "bin", "out"] {
      try FileManager.default.createDirectory(
        at: folder.appendingPathComponent(part), withIntermediateDirectories: true)
    }
    try write("", to: folder.appendingPathComponent("Package.swift"))
    try write("one", to: source)
    let swift = folder.appendingPathComponent("bin/swift")
    try write(
      """
      #!/bin/bash
      cd \(folder.path)
      case "$*" in
        --version) echo 1 ;;
        'package resolve') touch Package.resolved ;;
        *--show-bin-path) echo \(folder.path)/out ;;
        *)
          if [[ -e locked ]]; then echo 'error: build database is locked'; exit 1; fi
          if [[ -e fails ]]; then echo 'error: no such module'; exit 1; fi
          echo "$*" >>builds
          sleep 0.3
          # In its place, as a linker may.
          cat Sources/App/main.swift >out/app
          chmod +x out/app
      esac
      """, to: swift)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: swift.path)
  }

  func write(_ text: String, to file: URL) throws { try Data(text.utf8).write(to: file) }

  /// Builds the product if needed, for a system of that name.
  func start(_ system: String = "one") throws -> ChildProcess {
    let lib = TestEnvironment.root.appendingPathComponent("scripts/lib").path
    let script = """
      set -euo pipefail
      source \(lib)/common.bash
      source \(lib)/products.bash
      root=\(folder.path) local_dir=\(folder.path)/\(system) log_dir=\(folder.path)/\(system)/log
      mkdir -p "$log_dir"
      have_products app
      """
    return try ChildProcess(
      URL(fileURLWithPath: "/bin/bash"), ["-c", script],
      environment: ["PATH": "\(folder.path)/bin:/usr/bin:/bin"])
  }

  func run(_ system: String = "one") async throws -> String {
    let process = try start(system)
    #expect(try await process.wait() == 0, "\(process.output)")
    return process.output
  }

  func builds() throws -> Int {
    try String(contentsOf: folder.appendingPathComponent("builds"), encoding: .utf8).split(separator: "\n").count
  }
  func product(_ system: String = "one") throws -> String {
    try String(contentsOf: folder.appendingPathComponent("\(system)/bin/app"), encoding: .utf8)
  }
}

@Suite("Scripts")
struct ScriptsTests {
  @Test("A product is built only after a source changed, and a running system keeps its executable")
  func building() async throws {
    let checkout = try FakeCheckout()
    #expect(try await checkout.run().contains("building") && checkout.product() == "one")
    #expect(try await checkout.run() == "" && checkout.builds() == 1)
    // Another system in the same checkout.
    #expect(try await checkout.run("other") == "" && checkout.builds() == 1)
    try checkout.write("two", to: checkout.source)
    #expect(try await checkout.run().contains("building") && checkout.product() == "two")
    #expect(try checkout.product("other") == "one", "the executable of another system was changed under it")
    try checkout.write("", to: checkout.folder.appendingPathComponent("Sources/App/new.swift"))
    #expect(try await checkout.run().contains("building") && checkout.builds() == 3)
    #expect(try await checkout.run() == "")
  }

  @Test("A script waits for another build and says so, and two concurrent scripts build once")
  func waiting() async throws {
    let checkout = try FakeCheckout()
    try checkout.write("", to: checkout.isLocked)
    let first = try checkout.start()
    try await eventually("it says that it waits") {
      first.output.contains("another build uses this checkout; waiting for it")
    }
    let second = try checkout.start("other")
    try await eventually("so does the second") {
      second.output.contains("another script builds in this checkout; waiting for it")
    }
    try FileManager.default.removeItem(at: checkout.isLocked)
    for process in [first, second] { #expect(try await process.wait() == 0, "\(process.output)") }
    #expect(try checkout.builds() == 1 && checkout.product() == "one" && checkout.product("other") == "one")
  }

  @Test("A failed build says why, and installs nothing")
  func failing() async throws {
    let checkout = try FakeCheckout()
    try checkout.write("", to: checkout.fails)
    let process = try checkout.start()
    #expect(try await process.wait() == 1 && process.output.contains("no such module"), "\(process.output)")
    #expect(throws: (any Error).self) { try checkout.product() }
  }

  @Test("A port or secret requested concurrently for the first time is the same for all")
  func kept() async throws {
    let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("kept"))
    let script = """
      set -euo pipefail
      source scripts/lib/common.bash
      for n in {1..16}; do (echo "$(kept_port one) $(secret two)") & done
      wait
      """
    let process = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/env"), ["-C", TestEnvironment.root.path, "bash", "-c", script],
      environment: ["COUNTERFLOW_LOCAL": folder.path])
    #expect(try await process.wait() == 0)
    let answers = process.output.split(separator: "\n")
    #expect(answers.count == 16 && Set(answers).count == 1, "\(process.output)")
  }

  @Test("A port is given away once, also to scripts that have not listened on theirs yet")
  func freePorts() async throws {
    let lib = TestEnvironment.root.appendingPathComponent("scripts/lib").path
    let claims = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("ports")).path
    // Of 12,000 ports: without claims, five of these calls would give away a port twice, and none in 0.6 % of the runs.
    let script = "source \(lib)/common.bash; port_claims=\(claims); for _ in {1..175}; do free_port; done"
    let scripts = try (0..<2).map { _ in try ChildProcess(URL(fileURLWithPath: "/bin/bash"), ["-euc", script]) }
    for process in scripts { #expect(try await process.wait() == 0, "\(process.output)") }
    let ports = scripts.flatMap { $0.output.split(separator: "\n") }
    #expect(ports.count == 350 && Set(ports).count == 350)
  }

  @Test("Scripts build only through lib/products.bash, which waits for other builds")
  func oneWay() throws {
    let folder = TestEnvironment.root.appendingPathComponent("scripts")
    for name in try FileManager.default.subpathsOfDirectory(atPath: folder.path) where name != "lib/products.bash" {
      // Folders have no text.
      guard let text = try? String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8) else { continue }
      for line in text.split(separator: "\n") where !line.hasPrefix("#") && !line.contains("--show-bin-path") {
        #expect(!line.contains(/\bswift build/) && !line.contains(/\bBINARIES\b/), "\(name): \(line)")
      }
    }
  }
}

@Suite("scripts/up", .tags(.system), .needsServers)
struct UpTests {
  @Test(
    "scripts/up starts a system, also with TLS, and a second start reports what runs or differs",
    .whenThereIsRoom)
  func up() async throws {
    let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("up"))
    let authority = try await TestAuthority()
    func free() async throws -> String {
      let python = try ChildProcess(
        URL(fileURLWithPath: "/usr/bin/python3"),
        ["-c", "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"])
      try #require(try await python.wait() == 0, "\(python.output)")
      return python.output.filter(\.isNumber)
    }
    let environment = [
      "COUNTERFLOW_LOCAL": folder.path, "COUNTERFLOW_BINARIES": TestEnvironment.binaries.path, "HOME": folder.path,
      "COMMAND_PORT": try await free(), "QUERY_PORT": try await free(),
    ].merging(authority.serverSettings) { $1 }.merging(authority.clientSettings) { $1 }
    func script(_ name: String, _ arguments: String..., settings: [String: String] = [:]) async throws -> (
      Int32, String
    ) {
      // A task's thread may block signals, and the shell would inherit that. Its supervisors wait for SIGTERM.
      let unblocked =
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_SETMASK, []); os.execv(sys.argv[1], sys.argv[1:])"
      let process = try ChildProcess(
        URL(fileURLWithPath: "/usr/bin/python3"),
        ["-c", unblocked, TestEnvironment.root.appendingPathComponent("scripts/\(name)").path] + arguments,
        environment: environment.merging(settings) { $1 })
      return (try await process.wait(within: .seconds(600)), process.output)
    }
    let result: Result<Void, any Error>
    do {
      let first = try await script("up", "--detach")
      #expect(first.0 == 0 && first.1.contains("Ready:"), "\(first.1)")
      let again = try await script("up", "--detach")
      #expect(again.0 == 0 && again.1.contains("The system already runs as requested"), "\(again.1)")
      let more = try await script("up", "--detach", "--replicas", "projector=2", settings: ["LOG_LEVEL": "debug"])
      #expect(more.0 == 1 && more.1.contains("requested: replicas of projector: 2"), "\(more.1)")
      #expect(more.1.contains("running: replicas of projector: 1") && more.1.contains("requested: LOG_LEVEL"))
      try await eventually("counterflow status is content") {
        let status = try ChildProcess(
          URL(fileURLWithPath: "/bin/bash"), ["-c", ". \(folder.path)/env && counterflow status && counterflow verify"])
        return try await status.wait() == 0
      }
      let load = try ChildProcess(
        URL(fileURLWithPath: "/bin/bash"),
        [
          "-c",
          ". \(folder.path)/env && exec loadtest read-your-writes --rate 20 --duration 1 --warm-up 0 --commands $COMMAND_URL --queries $QUERY_URL",
        ], environment: authority.clientSettings)
      #expect(try await load.wait() == 0 && load.output.contains(" responses per second, 0 errors"), "\(load.output)")
      result = .success(())
    } catch { result = .failure(error) }
    _ = try await script("down", "--quiet")
    try result.get()
  }
}
