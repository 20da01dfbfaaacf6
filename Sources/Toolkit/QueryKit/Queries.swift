public import AccessKit
public import EventSourcing
internal import Failures
public import HTTPKit
public import Hummingbird
public import Logging
internal import Postgres
internal import PostgresEventStore
public import Projections
public import ServiceKit
internal import ServiceLifecycle
public import SettingsKit

/// What the routes of a query-service use.
public struct Queries: Sendable {
  /// Answers queries, with consistency tokens, freshness and ETags.
  public let responder: QueryResponder
  /// Admits the requests that may read.
  public let admission: Admission
  package let store: ReadStore
  package let heads: StoreHeads
  /// nil if the application runs in memory.
  let changes: ChangeRoutes?
  let events: EventNames
  /// The events with personal data.
  var sealed: [SealedEvents] = []

  /// Answers a request for the events of one stream, page by page.
  /// - Parameters:
  ///   - request: the request, with the parameters of the page.
  ///   - context: the context of the request. Sealed data is left out if its caller may not see it.
  ///   - stream: the stream.
  ///   - missing: the detail of the 404 problem if the stream does not exist.
  public func history(
    _ request: Request, _ context: ServiceContext, of stream: StreamID, missing: String
  ) async throws -> Response {
    var parameters = QueryParameters(request)
    let limit = try parameters.limit(default: 100, atMost: 1000)
    let cursor = try parameters.cursor { VersionCursor(opaque: $0) }
    let tag = parameters.tag
    try parameters.finish()
    let reader = try reader(request, context, ofHistoriesOf: stream.category)
    return try await responder.answer(request, missing: missing, to: reader) { histories in
      try await histories.events(of: stream, after: cursor?.version ?? .none, limit: limit).map { page in
        var result = QueryResult(items: page.items, next: page.next.map { tag + VersionCursor(version: $0).opaque })
        if reader != nil { result.persons = [String(stream.id)] }
        return result
      }
    }
  }

  /// Adds `/v1/changes`: all changes, or those of the event types that the request names.
  package func addChanges(to router: some RouterMethods<ServiceContext>) {
    router.get("/v1/changes") { request, _ in try await changeRoutes.all(request, events) }
  }

  /// Adds a route.
  /// - Parameters:
  ///   - route: the query, and the requests that ask it.
  ///   - path: the router's path; nil for the route's own.
  ///   - names: the router's names of the path's parameters, where they differ.
  ///   - router: gets the route.
  public func add(
    _ route: QueryRoute, at path: RouterPath? = nil, names: [String: String] = [:],
    to router: some RouterMethods<ServiceContext>
  ) {
    router.get(path ?? RouterPath(route.path)) { request, context in
      var context = context
      context.parameterNames = names
      return try await route.respond(self, request, context)
    }
  }

  /// Answers a request that follows the changes of one stream.
  /// - Parameters:
  ///   - request: the request.
  ///   - stream: the stream.
  ///   - model: the name of the read model that has a row for the stream's id.
  ///   - missing: the detail of the 404 problem if there is no such row.
  public func changes(
    _ request: Request, of stream: StreamID, in model: String, missing: String
  ) async throws -> Response {
    try await changeRoutes.one(stream, in: model, request, missing: missing)
  }

  private var changeRoutes: ChangeRoutes {
    get throws(Problem) {
      guard let changes else { throw .needsPostgreSQL("A stream of changes") }
      return changes
    }
  }
}

extension Role {
  /// Returns the role that answers queries.
  /// - Parameters:
  ///   - models: all read models.
  ///   - known: all events. Clients that follow changes may name only these.
  ///   - sealed: the events with personal data.
  ///   - own: the settings that `extend` reads, besides those that every query-service has.
  ///   - extend: adds the routes.
  public static func queryService(
    _ models: [Projection], events known: EventNames, sealed: [SealedEvents] = [],
    settings own: [SettingDescription] = [],
    _ extend: @escaping @Sendable (Queries, Settings, Logger, inout RoleParts) throws -> Void
  ) -> Role {
    Role(
      "query-service", port: 8082,
      settings: [
        QuerySettings.cacheSize.description, QuerySettings.heartbeat.description, QuerySettings.followers.description,
        CommonSettings.readDatabaseURL.description, CommonSettings.writeDatabaseURL.description,
        CommonSettings.poolSize.description, QuerySettings.writePoolSize.description,
        CommonSettings.statementTimeout.description, CommonSettings.acquireTimeout.description,
        CommonSettings.consistencyTokenKey.description,
      ] + PersonalKeySettings.all + own
    ) { settings, logger, access in
      // The cache is only as fresh as the known progress of the read models. Reading it 40 times a second takes 16 ms
      // of a core of PostgreSQL (docs/performance.md).
      let cacheBytes = try settings[QuerySettings.cacheSize] * 1_000_000
      let activity = Activity(busy: cacheBytes > 0 ? .milliseconds(25) : .milliseconds(100))
      let writeURL = try settings[CommonSettings.writeDatabaseURL]
      let headsPool = Databases.watch(url: writeURL, name: "query-service heads", timeout: .seconds(5), logger: logger)
      let heads = StoreHeads(headsPool, activity: Activity(), logger: logger)
      func pool(_ name: String, _ size: Int) throws -> PostgresPool {
        try Databases.pool(url: writeURL, settings, name: name, size: size, logger: logger)
      }
      let events = try pool("query-service", try settings[QuerySettings.writePoolSize])
      let (newest, older) = (try pool("query-service changes", 1), try pool("query-service followers", 2))
      let scalePool = Databases.watch(url: writeURL, name: "query-service scale", timeout: .seconds(5), logger: logger)
      let (store, readers) = try readStore(settings, heads, activity, logger)
      let keys = PersonalKeys(events, try PersonalKeySettings.read(settings, logger))
      let responder = QueryResponder(
        store: store, heads: heads,
        tokenKey: ConsistencyToken.Key(try settings[CommonSettings.consistencyTokenKey].utf8),
        histories: Histories(events, keys, sealed: sealed),
        cache: cacheBytes > 0 ? ResponseCache(capacity: cacheBytes) : nil)
      let log = ChangeLog(
        newest: PostgresEventStore(newest), older: PostgresEventStore(older), store,
        reads: models.map { Reads($0.name) }, heads: heads, activity: activity,
        logger: logger)
      let queries = Queries(
        responder: responder, admission: Admission(access, scope: .queriesRead),
        store: store, heads: heads,
        changes: ChangeRoutes(
          log: log, responder: responder, limit: try settings[QuerySettings.followers],
          heartbeat: try settings[QuerySettings.heartbeat]), events: known, sealed: sealed)
      var parts = RoleParts()
      let scale = ScaleWatch(
        ScaleReader(readStore: store, writeStore: scalePool, heads: heads), logger: logger)
      let metricsAccess = try MetricsAccess(settings)
      parts.services = [headsPool, heads, events, newest, older, scalePool] + readers
      // The log disconnects its followers before the server waits for open responses.
      parts.workers = [log]
      parts.healthChecks = [
        .anyDatabase("readStore", try store.servers.map { try $0.access.byKey }, [projectionsSchema]) {
          try await Projection.problem(with: models, on: $0)
        },
        .permit("writeStore", events, [eventStoreSchema]),
      ]
      parts.translate = queryProblem
      parts.addRoutes { router in
        queries.addChanges(to: router.group().add(middleware: queries.admission))
        scale.add(to: router, metricsAccess)
      }
      try extend(queries, settings, logger, &parts)
      return parts
    }
  }

  /// Returns the read store's servers with their pools, and the services that these need.
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
        onConnect: SearchText.prepare)
      let watching = Databases.watch(url: url, name: "query-service progress", timeout: .seconds(1), logger: logger)
      let progress = ReadProgress(
        watching, host: PostgresConfiguration.host(ofURL: url), heads: heads, activity: activity, logger: logger)
      servers.append(ReadStore.Server(access: ReadAccess(byKey: byKey, lists: lists), progress: progress))
      services += [byKey, lists, watching, progress]
    }
    return (ReadStore(servers), services)
  }
}

private enum QuerySettings {
  static let writePoolSize = Setting.integer(
    "HISTORY_POOL_SIZE", default: 4, in: 1...200,
    help: "The maximum number of connections to the write store for histories.")

  static let cacheSize = Setting.integer(
    "QUERY_CACHE_MB", default: 32, in: 0...100_000,
    help: "The size of the response cache in megabytes, by estimate; 0 turns it off.")

  static let followers = Setting.integer(
    "CHANGES_MAX_CLIENTS", default: 1_000, in: 0...1_000_000,
    help: "The maximum number of clients that follow changes; others get 503.")

  static let heartbeat = Setting.seconds(
    "CHANGES_HEARTBEAT", default: 15, in: 0.1...3600,
    help:
      "The longest pause between two messages to a client that follows changes, in seconds. A heartbeat has the id of its position."
  )
}

@Sendable func queryProblem(_ error: any Error) -> Problem? {
  guard let error = error as? PostgresError, error.failureKind == .retry else { return nil }
  // The query exceeded our timeout, or the server or its administrator cancelled it.
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
