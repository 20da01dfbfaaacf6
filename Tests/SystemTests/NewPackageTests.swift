import Foundation
import TestSupport
import Testing

/// A folder with a link `cf` to Counterflow.
private struct Workplace {
  let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("workplace"))

  init() throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(
      at: folder.appendingPathComponent("cf"), withDestinationURL: TestEnvironment.root)
  }

  func new(_ name: String, _ arguments: [String]) async throws -> (status: Int32, output: String) {
    try await run(
      TestEnvironment.binaries.appendingPathComponent("counterflow"), ["new", name, "--in", folder.path] + arguments)
  }

  func run(_ program: URL, _ arguments: [String]) async throws -> (status: Int32, output: String) {
    let process = try ChildProcess(program, arguments, environment: ProcessInfo.processInfo.environment)
    return (try await process.wait(), process.output)
  }
}

/// The template is a target of this package with its own tests. These tests check it under another name.
@Suite("counterflow new")
struct NewPackageTests {
  @Test("A package is written with its name, and Swift and Compose can read it")
  func written() async throws {
    let workplace = try Workplace()
    let made = try await workplace.new("shop", ["--counterflow", "cf"])
    #expect(made.status == 0 && made.output.contains("/shop. Its README.md says"), "\(made.output)")
    let shop = workplace.folder.appendingPathComponent("shop")
    let files = try FileManager.default.subpathsOfDirectory(atPath: shop.path).sorted()
    #expect(
      files == [
        ".gitignore", "Dockerfile", "Dockerfile.dockerignore", "Package.swift", "README.md", "Sources",
        "Sources/shop.swift", "Tests", "Tests/NoteTests.swift", "compose.yaml",
      ])
    for file in files where !["Sources", "Tests"].contains(file) {
      let text = try String(contentsOf: shop.appendingPathComponent(file), encoding: .utf8)
      #expect(!text.contains("notebook") && !text.contains("COUNTERFLOW"), "\(file)")
    }
    let env = URL(fileURLWithPath: "/usr/bin/env")
    let manifest = try await workplace.run(
      env, ["swift", "package", "--package-path", shop.path, "dump-package"])
    #expect(manifest.status == 0 && manifest.output.contains(#""name" : "shop""#), "\(manifest.output)")
    let compose = try await workplace.run(
      env,
      [
        "python3", "-c",
        """
        import sys, yaml
        services = yaml.safe_load(open(sys.argv[1]))['services']
        print(sorted(services), {s['build']['dockerfile'] for s in services.values() if 'build' in s})
        """, shop.appendingPathComponent("compose.yaml").path,
      ])
    #expect(
      compose.output.contains(
        "['broker', 'command-service', 'database', 'migrate', 'projector', 'query-service', 'relay'] {'shop/Dockerfile'}"
      ),
      "\(compose.output)")
  }

  @Test("An invalid name or path is reported, and nothing is written")
  func refused() async throws {
    let workplace = try Workplace()
    for (arguments, words) in [
      (["Shop", "--counterflow", "cf"], "'Shop' cannot be a name"),
      (["sh op", "--counterflow", "cf"], "cannot be a name"),
      (["../shop", "--counterflow", "cf"], "cannot be a name"), (["class", "--counterflow", "cf"], "'class' is taken"),
      (["cf", "--counterflow", "cf"], "'cf' is taken"), (["shop"], "counterflow/Package.swift is not Counterflow's"),
    ] {
      let answer = try await workplace.new(arguments[0], Array(arguments.dropFirst()))
      #expect(answer.status == 64 && answer.output.contains(words), "\(answer)")
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: workplace.folder.path) == ["cf"])
    #expect(try await workplace.new("shop", ["--counterflow", "cf"]).status == 0)
    let again = try await workplace.new("shop", ["--counterflow", "cf"])
    #expect(again.status == 64 && again.output.contains("/shop already exists"), "\(again.output)")
  }
}
