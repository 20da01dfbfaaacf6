import HTTPKit
import HTTPTypes
import JSON
import Postgres
import TestSupport
import Testing

@testable import QueryKit

@Suite("Slow queries")
struct SlowQueryTests {
  @Test(
    "A query that exceeds its timeout gets a problem with advice, and other queries work", .tags(.system),
    .needsServers,
    .freshDatabase())
  func locked() async throws {
    let system = System(settings: ["DATABASE_TIMEOUT": "0.5"])
    try await system.migrate()
    let queries = try await system.startReady(.queryService)
    let connection = try await FreshDatabase.current.connect()
    try await connection.execute("begin; lock table read_models.orders_shape in access exclusive mode")
    for path in ["/v1/orders", "/v1/orders/o-1"] {
      let answer = try await queries.http.get(path)
      #expect(answer.status == 503 && answer.problem == "query-too-slow", "\(path): \(answer.text)")
      #expect(answer.headers["retry-after"] != nil)
      #expect(answer.json["detail"]?.string?.contains("Ask for less") == true)
      let id = try #require(answer.json["requestId"]?.string)
      try await eventually("the log has its id, and what took too long") {
        queries.process.output.split(separator: "\n").contains {
          $0.contains("a request failed") && $0.contains(id) && $0.contains("query-too-slow")
        }
      }
    }
    #expect(try await queries.http.get("/v1/products").status == 200)
    try await connection.execute("rollback")
    #expect(try await queries.http.get("/v1/orders", until: 200).status == 200)
    await connection.close()
  }

  @Test(
    "Each kind of read store failure has its own problem",
    arguments: [
      (PostgresError(.timeout, "no answer in the time allowed"), "query-too-slow", "took"),
      (PostgresError(.server(.queryCanceled), "statement timeout"), "query-too-slow", "DATABASE_TIMEOUT"),
      (PostgresError(.poolExhausted, "no connection free"), "unavailable", "in use"),
      (PostgresError(.connectionFailed, "refused"), "unavailable", "cannot be reached"),
      (PostgresError(.server(.adminShutdown), "terminated"), "unavailable", "cannot be reached"),
    ])
  func causes(error: PostgresError, name: String, part: String) throws {
    let problem = try #require(queryProblem(error))
    #expect(problem.status == .serviceUnavailable && problem.name == name)
    #expect((problem.title + problem.detail).contains(part))
  }

  @Test("An error that is not an outage stays an error")
  func others() { #expect(queryProblem(PostgresError(.decoding, "not a number")) == nil) }
}
