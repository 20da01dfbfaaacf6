import Foundation
import Postgres
import TestSupport
import Testing

@Suite("PostgreSQL over TLS", .tags(.integration, .system), .needsServers, .whenThereIsRoom)
struct SecureServerTests {
  /// The URL of a server that accepts only TLS connections, with a certificate for localhost.
  private func server() async throws -> String {
    let url = try await PrivateServer(.postgres, settings: ["POSTGRES_TLS": "1"]).url()
    try await eventually("the server answers") { (try? await connect(url)) != nil }
    return url
  }

  @discardableResult
  private func connect(_ url: String) async throws -> PostgresConnection {
    try await PostgresConnection.connect(PostgresConfiguration(url: url, connectTimeout: .seconds(60)))
  }

  /// The same URL with other parameters and another host.
  private func changed(_ url: String, host: String = "localhost", _ parameters: String) -> String {
    url.prefix { $0 != "?" }.replacing("@localhost:", with: "@\(host):") + "?" + parameters
  }

  @Test(
    "sslmode controls encryption and trust, and errors name the reason without the password")
  func modes() async throws {
    let url = try await server()
    let certificate = try #require(url.split(separator: "sslrootcert=").last)
    func change(_ host: String, _ parameters: String) -> String { changed(url, host: host, parameters) }
    func change(_ parameters: String) -> String { changed(url, parameters) }
    let other = TestEnvironment.scratch.appendingPathComponent("other")
    let made = try ChildProcess(
      URL(fileURLWithPath: "/usr/bin/openssl"),
      [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout",
        other.path + ".key", "-out", other.path,
      ])
    #expect(try await made.wait() == 0, "\(made.output)")

    for good in [
      url, change("127.0.0.1", "sslmode=verify-ca&sslrootcert=\(certificate)"), change("127.0.0.1", "sslmode=require"),
      change("sslmode=prefer"),
    ] {
      let connection = try await connect(good)
      let isEncrypted = try await connection.query("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
      #expect(try isEncrypted.value(Bool.self))
      await connection.close()
    }
    let password = try #require(URLComponents(string: url)?.password)
    for (bad, reason) in [
      (change("127.0.0.1", "sslmode=verify-full&sslrootcert=\(certificate)"), "does not match host name"),
      (change("sslmode=verify-full&sslrootcert=\(other.path)"), "certificate verify failed"),
      (change("sslmode=verify-ca&sslrootcert=\(other.path)"), "certificate verify failed"),
      (change("sslmode=verify-full&sslrootcert=/nowhere"), "does not exist"),
      (change("sslmode=disable"), "no encryption"), (change("sslmode=perhaps"), "invalid sslmode"),
    ] {
      await #expect("\(reason)") { try await connect(bad) } throws: {
        "\($0)".contains(reason) && !"\($0)".contains(password)
      }
    }
  }

  @Test("Queries, pipelines, COPY and notifications work over TLS, small and large")
  func traffic() async throws {
    let connection = try await connect(try await server())
    let text = String(repeating: "x", count: 1_000_000)
    #expect(try await connection.query("select \(text)").value(String.self) == text)
    let part = String(text.prefix(50_000))
    let answers = try await connection.pipeline((0..<200).map { _ in "select \(part)" })
    #expect(answers.count == 200)
    #expect(try answers.allSatisfy { try $0.get().value(String.self).utf8.count == 50_000 })
    try await connection.execute("create table t (id bigint, text text)")
    let stored = try await connection.copyIn("copy t from stdin") { copy in
      for n in 0..<20_000 { try copy.write(row: [String(n), "line \(n)"]) }
    }
    #expect(stored == 20_000)
    #expect(try await connection.copyOut("copy t to stdout") { _ in } == 20_000)
    var notifications = try await connection.notifications(on: ["news"]).makeAsyncIterator()
    try await connection.query("select pg_notify('news', 'one')")
    #expect(await notifications.next()?.payload == "one")
  }
}
