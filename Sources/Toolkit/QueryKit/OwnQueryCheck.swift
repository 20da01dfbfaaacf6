internal import Failures
package import HTTPKit
internal import Postgres
internal import ServiceKit
internal import Synchronization

extension Queries {
  /// Checks once that PostgreSQL accepts the hand-written SQL of the routes, and that it returns the columns of their rows. So
  /// a mistake shows at the start, and not in the first answer.
  package func check(_ routes: [QueryRoute]) throws -> HealthCheck {
    let check = OwnQueryCheck(routes.compactMap { route in route.probe.map { (route.path, $0) } })
    let pools = try store.servers.map { try $0.access.lists }
    return .anyDatabase("queries", pools, []) { try await check.problem(on: $0) }
  }
}

final class OwnQueryCheck: Sendable {
  private let probes: [(path: String, sql: String)]
  private let isDone = Atomic(false)

  init(_ probes: [(path: String, sql: String)]) { self.probes = probes }

  func problem(on pool: PostgresPool) async throws -> String? {
    guard !isDone.load(ordering: .relaxed) else { return nil }
    for (path, sql) in probes {
      do { try await pool.query(Query(sql, [])) } catch let error as PostgresError
        where error.failureKind == .programmingError
      {
        // The tables of a read model are there once a projector has started.
        if error.sqlState == .undefinedTable { return nil }
        return "the SQL of \(path) cannot run: \(error.description)"
      }
    }
    isDone.store(true, ordering: .relaxed)
    return nil
  }
}
