import CommerceAPI
import CommerceReadModels
import Hummingbird
import Logging
import Postgres
import Projections
import ServiceKit
import ServiceLifecycle

extension App {
  static let port = CommonSettings.httpPort(default: 8082)

  static let settings =
    [
      CommonSettings.readDatabaseURL.description, CommonSettings.poolSize.description,
      CommonSettings.statementTimeout.description, CommonSettings.acquireTimeout.description, port.description,
    ] + AccessSettings.all + CommonSettings.ofEveryProcess

  /// Puts the process together: HTTP and the read store.
  static func build(_ settings: Settings, _ logger: Logger) async throws -> [any Service] {
    let pool = try Databases.pool(
      CommonSettings.readDatabaseURL, settings, name: "query-service", logger: logger,
      onConnect: CatalogueQueries.prepare)
    let access = try await Access(settings, logger: logger)
    let router = Router(context: ServiceContext.self, options: .autoGenerateHeadEndpoints)
    router.addDocument("/openapi.yaml", "application/yaml", CommerceRoutes.openAPI)
    router.addHealth([.database("readStore", pool, [projectionsSchema, readModelsSchema])])
    QueryRoutes(pool).add(to: router.group().add(middleware: Admission(access, scope: .queriesRead)))
    let server = ServiceMain.httpServer(
      ProblemResponder(router, elsewhere: CommerceRoutes.commands, translate: queryProblem),
      host: try settings[CommonSettings.httpHost], port: try settings[port], logger: logger)
    return [pool, server]
  }
}

@Sendable func queryProblem(_ error: any Error) -> Problem? {
  guard let error = error as? PostgresError, error.isRetriable || error.code == .closed else { return nil }
  return .unavailable("The read store cannot be reached; try again in a moment.", retryAfter: 2)
}
