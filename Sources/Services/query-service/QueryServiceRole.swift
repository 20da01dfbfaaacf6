import CommerceAPI
import CommerceReadModels
import Failures
import Hummingbird
import Logging
import Postgres
import PostgresEventStore
import Projections
import ServiceKit
import ServiceLifecycle

extension Role {
  /// Answers queries.
  static let queryService = Role(
    "query-service", port: 8082,
    settings: [
      QuerySettings.cacheSize.description, QuerySettings.heartbeat.description, QuerySettings.followers.description,
      ProcessWatch.processes.description, ClientTLS.authorities.description,
      CommonSettings.readDatabaseURL.description, CommonSettings.writeDatabaseURL.description,
      CommonSettings.poolSize.description, QuerySettings.writePoolSize.description,
      CommonSettings.statementTimeout.description, CommonSettings.acquireTimeout.description,
      CommonSettings.consistencyTokenKey.description,
    ] + AccessSettings.all
  ) { settings, logger in
    // What is in the cache is only as fresh as what is known of the read tables: forty looks a second, which take PostgreSQL 16 ms
    // (docs/performance.md).
    let cacheBytes = try settings[QuerySettings.cacheSize] * 1_000_000
    let activity = Activity(busy: cacheBytes > 0 ? .milliseconds(25) : .milliseconds(100))
    let writeURL = try settings[CommonSettings.writeDatabaseURL]
    let headsPool = Databases.watch(url: writeURL, name: "query-service heads", timeout: .seconds(5), logger: logger)
    let heads = StoreHeads(headsPool, activity: Activity(), logger: logger)
    let eventsPool = try Databases.pool(
      url: writeURL, settings, name: "query-service", size: try settings[QuerySettings.writePoolSize], logger: logger)
    let newest = try Databases.pool(url: writeURL, settings, name: "query-service changes", size: 1, logger: logger)
    let older = try Databases.pool(url: writeURL, settings, name: "query-service followers", size: 2, logger: logger)
    let (store, readers) = try readStore(settings, heads, activity, logger)
    let answering = Answering(
      store: store, heads: heads,
      tokenKey: ConsistencyToken.Key(try settings[CommonSettings.consistencyTokenKey].utf8),
      histories: Histories(eventsPool), cache: cacheBytes > 0 ? AnswerCache(capacity: cacheBytes) : nil)
    let access = try await Access(settings, logger: logger)
    let log = ChangeLog(newest: newest, older: older, store, heads: heads, activity: activity, logger: logger)
    let changes = ChangeRoutes(
      log: log, answering: answering, limit: try settings[QuerySettings.followers],
      heartbeat: try settings[QuerySettings.heartbeat])
    let overview = Overview(
      ProcessWatch(
        try settings[ProcessWatch.processes], token: try settings[Observing.metricsToken],
        client: try ProcessClient(settings)), store, heads: heads, logger: logger)
    var parts = RoleParts()
    parts.services = [headsPool, heads, eventsPool, newest, older] + readers
    // Who follows changes is let go before the server waits for its answers to end.
    parts.workers = [log, overview]
    parts.healthChecks = [
      .anyDatabase("readStore", store.servers.map(\.pool), [projectionsSchema]) {
        try await Projection.problem(with: commerceReadModels(), on: $0)
      }
    ]
    parts.addRoutes = { router in
      router.addDocument("/openapi.yaml", "application/yaml", CommerceRoutes.openAPI)
      let admitted = router.group().add(middleware: Admission(access, scope: .queriesRead))
      QueryRoutes(answering: answering).add(to: admitted)
      changes.add(to: admitted)
      ConsoleRoutes.addPage(to: router)
      ConsoleRoutes(overview: overview, readStore: store).add(
        to: router.group().add(middleware: Admission(access, scope: .admin)))
    }
    parts.elsewhere = CommerceRoutes.commands
    parts.translate = queryProblem
    return parts
  }

  /// Each of the read store's servers with its pools, and what they need to run.
  private static func readStore(
    _ settings: Settings, _ heads: StoreHeads, _ activity: Activity, _ logger: Logger
  ) throws -> (ReadStore, [any Service]) {
    var services: [any Service] = []
    var servers: [ReadStore.Server] = []
    let connections = try settings[CommonSettings.poolSize]
    for url in PostgresConfiguration.urlsOfEachHost(try settings[CommonSettings.readDatabaseURL]) {
      let forLists = max(1, connections * 3 / 8)
      let byKey = try Databases.pool(
        url: url, settings, name: "query-service", size: connections - forLists, logger: logger)
      let lists = try Databases.pool(
        url: url, settings, name: "query-service lists", size: forLists, logger: logger,
        onConnect: CatalogueQueries.prepare)
      let watching = Databases.watch(url: url, name: "query-service progress", timeout: .seconds(1), logger: logger)
      let progress = ReadProgress(
        watching, host: PostgresConfiguration.host(ofURL: url), heads: heads, activity: activity, logger: logger)
      servers.append(
        ReadStore.Server(pool: byKey, progress: progress, models: ReadModels(byKey: byKey, lists: lists)))
      services += [byKey, lists, watching, progress]
    }
    return (ReadStore(servers), services)
  }
}

private enum QuerySettings {
  /// Reads of the write store: histories, and how far it has come.
  static let writePoolSize = Setting.integer(
    "HISTORY_POOL_SIZE", default: 4, in: 1...200, help: "Connections to the write store for histories, at most.")

  static let cacheSize = Setting.integer(
    "QUERY_CACHE_MB", default: 32, in: 0...100_000,
    help: "Megabytes of answers about one thing that are kept in memory, by estimate; 0 for none.")

  static let followers = Setting.integer(
    "CHANGES_MAX_CLIENTS", default: 1_000, in: 0...1_000_000,
    help: "Clients that follow changes at once, at most; more are answered with 503.")

  static let heartbeat = Setting.seconds(
    "CHANGES_HEARTBEAT", default: 15, in: 0.1...3600,
    help:
      "How long a follower of changes is told nothing, at most, in seconds; then it gets the id of where it stands.")
}

@Sendable func queryProblem(_ error: any Error) -> Problem? {
  guard let error = error as? PostgresError, error.failureKind == .retry else { return nil }
  // By our own time-out, or by one that the server or its administrator has set.
  if error.code == .timeout || error.sqlState == .queryCanceled {
    return Problem(
      .serviceUnavailable, "query-too-slow", title: "The query took too long",
      detail:
        "The read store had no answer within DATABASE_TIMEOUT. Ask for less (a shorter time, longer words, a smaller limit), or try again later.",
      headers: [.retryAfter: "5"])
  }
  if error.code == .poolExhausted {
    return .unavailable(
      "All connections to the read store are in use; try again in a moment.", retryAfter: 2, isLogged: false)
  }
  return .unavailable("The read store cannot be reached; try again in a moment.", retryAfter: 2)
}
