import Foundation
import TestSupport
import Testing

/// What the image of deploy/Dockerfile needs: one executable with every service, and a health check.
@Suite("One executable")
struct OneExecutableTests {
  private static func healthy(_ arguments: [String], _ settings: [String: String] = [:]) async throws
    -> (status: Int32, output: String)
  {
    let process = try ChildProcess(
      TestEnvironment.binaries.appendingPathComponent("counterflow"), ["healthy"] + arguments, environment: settings)
    return (try await process.wait(), process.output)
  }

  @Test("The executable counterflow has every service of the commerce back end", .freshStores, .freshVirtualHost)
  func services() async throws {
    let system = System(of: "counterflow")
    try await system.migrate()
    for service in System.Service.allCases {
      let running = try await system.startReady(service)
      let asked = try await Self.healthy([running.http.base])
      #expect(asked.status == 0 && asked.output.isEmpty, "\(service): \(asked.output)")
      running.process.signal(SIGTERM)
      #expect(try await running.process.wait() == 0, "\(running.process.output)")
    }
  }

  @Test("A process that is not ready, and one that is not there, are not healthy")
  func unready() async throws {
    let system = System(of: "counterflow", writeURL: "postgres://a@127.0.0.1:1/b", amqpURL: "amqp://a:b@127.0.0.1:1/c")
    let running = try await system.start(.relay)
    // It answers once it has tried to connect.
    let unready = try await Self.healthy([running.http.base, "--timeout", "60"])
    #expect(unready.status == 1 && unready.output.contains("status 503 "), "\(unready.output)")
    let absent = try await Self.healthy(["http://127.0.0.1:1"])
    #expect(absent.status == 1 && absent.output.contains("http://127.0.0.1:1: "), "\(absent.output)")
    #expect(try await Self.healthy(["ftp://127.0.0.1"]).status == 64)
    #expect(try await Self.healthy(["--timeout", "0"]).status == 64)
    #expect(try await Self.healthy([], ["HTTP_PORT": "none"]).status == 78)
  }

  @Test("Without a URL the container's own process is asked, whatever its certificate is for", .freshStores)
  func own() async throws {
    let system = System(of: "counterflow")
    try await system.migrate()
    let plain = try await system.startReady(.reactor)
    let port = try #require(plain.http.base.split(separator: ":").last)
    let asked = try await Self.healthy([], ["HTTP_HOST": "0.0.0.0", "HTTP_PORT": "\(port)"])
    #expect(asked.status == 0, "\(asked.output)")

    let authority = try await TestAuthority(address: "127.0.0.9")
    let secure = try await system.start(.reactor, settings: authority.serverSettings)
    let settings = authority.serverSettings.merging([
      "HTTP_HOST": "0.0.0.0", "HTTP_PORT": "\(try #require(secure.http.base.split(separator: ":").last))",
    ]) { $1 }
    try await eventually("it is ready, over TLS") { try await Self.healthy([], settings).status == 0 }
    let named = secure.http.base.replacing("http:", with: "https:")
    let distrusted = try await Self.healthy([named], authority.clientSettings)
    #expect(distrusted.status == 1 && distrusted.output.contains("certificate"), "\(distrusted.output)")
  }

  @Test("The root folder of the image has all that the executable loads, and a list of what is in it")
  func root() async throws {
    let folder = TestEnvironment.scratch.appendingPathComponent(TestEnvironment.uniqueName("image"))
    defer { try? FileManager.default.removeItem(at: folder) }
    let made = try ChildProcess(
      TestEnvironment.root.appendingPathComponent("deploy/image-root"),
      [
        TestEnvironment.binaries.appendingPathComponent("counterflow").path,
        TestEnvironment.root.appendingPathComponent("Package.resolved").path, folder.path, "--swift", "6.3.1",
      ])
    #expect(try await made.wait() == 0, "\(made.output)")
    struct List: Decodable {
      struct Component: Decodable { let name: String, version: String, purl: String }
      let bomFormat: String, components: [Component]
    }
    let list = try JSONDecoder().decode(
      List.self, from: Data(contentsOf: folder.appendingPathComponent("usr/share/sbom/counterflow.cdx.json")))
    #expect(list.bomFormat == "CycloneDX")
    let names = Set(list.components.map(\.name))
    #expect(names.isSuperset(of: ["swift", "swift-nio", "libpq5", "librabbitmq4", "libc6", "ca-certificates"]))
    #expect(list.components.allSatisfy { !$0.version.isEmpty && $0.purl.hasPrefix("pkg:") })
    for file in ["var/lib/dpkg/status.d/libpq5", "usr/share/doc/libpq5/copyright", "etc/ssl/certs/ca-certificates.crt"]
    {
      #expect(FileManager.default.fileExists(atPath: folder.appendingPathComponent(file).path), "\(file)")
    }
  }
}
