import Foundation
import Postgres
import TestSupport
import Testing

@Suite("A pooler before PostgreSQL", .tags(.integration), .needsServers)
struct PoolerTests {
  /// Starts a pooler before the test's database.
  private func pooler(
    _ mode: String, _ settings: [String: String] = [:], connectTimeout: Duration = .seconds(30)
  ) async throws -> PostgresConfiguration {
    let pooler = try PrivateServer(
      .pgbouncer, settings: ["POOLED_URL": TestEnvironment.postgresURL, "POOL_MODE": mode].merging(settings) { $1 })
    var url = try #require(URLComponents(string: try await pooler.url()))
    url.path = "/" + FreshDatabase.current.name
    let configuration = PostgresConfiguration(url: try #require(url.string), connectTimeout: connectTimeout)
    try await eventually("the pooler listens") {
      guard pooler.process.isRunning else { throw NeverHappened(description: pooler.process.output) }
      guard let error = await refusal(configuration) else { return true }
      return error.message.contains("the pooler at")
    }
    return configuration
  }

  /// The error of an attempt to connect; nil if it succeeds.
  private func refusal(_ configuration: PostgresConfiguration) async -> PostgresError? {
    do throws(PostgresError) {
      await (try await PostgresConnection.connect(configuration)).close()
      return nil
    } catch { return error }
  }

  @Test("A pooler of sessions is as good as the server", .freshDatabase())
  func sessions() async throws {
    let connection = try await PostgresConnection.connect(try await pooler("session"))
    try await connection.execute("create table numbers (number bigint); set statement_timeout = 5000")
    let copied = try await connection.copyIn(
      into: "numbers", columns: [("number", PostgresValue(PostgresArray([1, 2, 3] as [Int64])))])
    #expect(copied == 3)
    for _ in 0..<3 {
      #expect(try await connection.query("select count(*) from numbers where number < \(3)").value(Int.self) == 2)
    }
    #expect(try await connection.query("show statement_timeout").value(String.self) == "5s")
    let notifications = try await connection.notifications(on: ["news"])
    let admin = try await FreshDatabase.current.connect()
    try await admin.execute("notify news, 'one'")
    #expect(await notifications.first { _ in true }?.payload == "one")
    await admin.close()
    await connection.close()
  }

  @Test(
    "A pooler of transactions is refused with what to change, also while others use it", .freshDatabase(),
    arguments: ["transaction", "statement"])
  func transactions(mode: String) async throws {
    let configuration = try await pooler(mode)
    let errors = await withTaskGroup(of: PostgresError?.self) { group in
      for _ in 0..<20 { group.addTask { await refusal(configuration) } }
      return await group.reduce(into: []) { $0.append($1) }
    }
    for error in errors + [await refusal(configuration)] {
      #expect(
        error?.code == .connectionFailed && error?.message.contains("pool_mode = session") == true, "\(error as Any)")
    }
  }

  @Test("A pooler without a second server connection is refused with what to change", .freshDatabase())
  func exhausted() async throws {
    let configuration = try await pooler("session", ["POOL_SIZE": "1"], connectTimeout: .seconds(2))
    let error = await refusal(configuration)
    #expect(error?.code == .connectionFailed && error?.message.contains("default_pool_size") == true, "\(error as Any)")
  }
}
