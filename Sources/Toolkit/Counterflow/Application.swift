package import AccessKit
internal import Administration
public import CommandKit
public import ConsoleKit
internal import EventSourcing
internal import Foundation
public import HTTPKit
internal import HTTPTypes
package import Hummingbird
public import Projections
internal import ProjectorKit
public import QueryKit
internal import RabbitMQFeed
public import Reactions
internal import ServiceKit

/// A system on one page: its commands, its read models and its queries.
///
///     @main
///     struct Bank: Application {
///       let commands: [CommandRoute] = [
///         .post("/v1/accounts", OpenAccount.self), .post("/v1/accounts/{id}/deposits", Deposit.self),
///       ]
///       let readModels: [any ReadModel] = [Balances()]
///       let queries: [QueryRoute] = [
///         .row("/v1/accounts/{id}", Balances()), .list("/v1/accounts", Balances(), order: .ascending("owner")),
///       ]
///     }
///
/// Each part is a subcommand of the executable. `bank command-service`, `bank relay`, `bank projector`,
/// `bank query-service` and `bank reactor` run as separate processes, as many of each as needed. `bank dev` runs everything as one
/// process, on one database and without RabbitMQ. `bank migrate`, `status`, `verify`, `rebuild`, `parked`, `deadlines`
/// and `token` administer the system, and `healthy` is the health check of a container.
public protocol Application: Sendable {
  /// Creates the application. Each process does so once, at its start.
  init()

  /// The executable's name in messages. The default is the type's name in lower case.
  static var name: String { get }

  /// The commands, and the requests that carry them.
  var commands: [CommandRoute] { get }

  /// The read models that projectors keep up to date. Names and table names are unique.
  var readModels: [any ReadModel] { get }

  /// The queries of the read models.
  var queries: [QueryRoute] { get }

  /// What follows from events.
  var reactions: [any Reacting] { get }

  /// All scopes that tokens may have.
  var scopes: [Scope] { get }

  /// What the console shows of the application, besides its processes, rates, projections and parked streams. The
  /// console is at `/console` of `query-service` and of `dev`.
  var console: Console { get }
}

extension Application {
  public static var name: String { String(describing: Self.self).lowercased() }

  public var scopes: [Scope] { Scope.common }
  public var reactions: [any Reacting] { [] }
  public var console: Console { Console() }

  /// Runs the subcommand that the arguments name.
  public static func main() async {
    let application = Self()
    if let problem = application.problem {
      FileHandle.standardError.write(Data("\(name): \(problem)\n".utf8))
      // EX_CONFIG of sysexits.h.
      ServiceMain.exit(78)
    }
    await application.administration.main(Root<Self>.self)
  }

  /// Why the declaration cannot work; nil if it can.
  package var problem: String? {
    let models = readModels.map(\.name)
    for model in readModels { if let problem = model.problem { return problem } }
    if let model = models.firstDouble { return "two read models are named \(model)" }
    if let table = readModels.flatMap({ $0.tableNames }).firstDouble {
      return "two tables of the read models are named \(table)"
    }
    if let problem = ReactionDefinition.problem(with: reactions.map(\.definition)) { return problem }
    if let stray = queries.flatMap(\.models).first(where: { !models.contains($0) }) {
      return "a query reads the read model \(stray), which is not among readModels"
    }
    let routes = commands.map { ("\($0.method)", $0.path) } + queries.map { ("GET", $0.path) }
    for (_, path) in routes {
      if let name = pathParameters(of: path).firstDouble { return "\(path) has two parameters named \(name)" }
    }
    let own = ["/healthz", "/readyz", "/metrics", "/scale", "/openapi.json", "/v1/changes", "/console"]
      .map { ("GET", $0) }
    let plain = (own + routes).map { "\($0.0) \($0.1.replacing(/{[^\/]*}/, with: "{…}"))" }
    if let route = plain.firstDouble { return "the route \(route) is there twice" }
    return commands.lazy.compactMap(\.problem).first ?? queries.lazy.compactMap(\.problem).first
      ?? console.problem(with: queries)
  }

  var administration: Administration {
    Administration(program: Self.name, scopes: scopes, reactions: reactions, aggregates: aggregates) { [readModels] _ in
      readModels.map { Projection($0) }
    }
  }

  var commandService: Role { commandService(hasDocument: true) }
  var projector: Role { .projector { [readModels] _ in readModels.map { Projection($0) } } }
  var reactor: Role { .reactor(reactions.map(\.name)) { [reactions] _ in reactions } }
  var queryService: Role { queryService(hasDocument: true) }

  /// All parts except the relay, which a single process does not need.
  var all: Role {
    let own = [commandService(hasDocument: false), projector, queryService(hasDocument: true)]
    return .together("dev", port: 8080, own + (reactions.isEmpty ? [] : [reactor]))
  }

  /// The router's path and parameter names for each route's path.
  private var routed: [String: (path: RouterPath, names: [String: String])] {
    var paths = RouterPaths()
    return (commands.map(\.path) + queries.map(\.path)).reduce(into: [:]) { routed, path in
      let (known, names) = paths.add(path)
      routed[path] = (RouterPath(known), names)
    }
  }

  private func commandService(hasDocument: Bool) -> Role {
    .commandService { [self] service, _, parts in
      parts.elsewhere = queries.map { ("GET", $0.path) }
      parts.addRoutes { router in
        if hasDocument { addDocument(to: router) }
        addCommands(service.commands, service.admission, to: router)
      }
    }
  }

  /// All aggregates that a route, a read model or a reaction names.
  private var aggregates: [any Aggregate.Type] {
    readModels.flatMap { $0.aggregates } + commands.compactMap(\.aggregate) + queries.compactMap(\.aggregate)
      + reactions.flatMap { $0.definition.aggregates }
  }

  private var events: EventNames { EventNames(aggregates) }

  private func queryService(hasDocument: Bool) -> Role {
    .queryService(readModels.map { Projection($0) }, events: events, settings: Console.settings) {
      [self] service, settings, logger, parts in
      parts.elsewhere = commands.map { ($0.method.rawValue, $0.path) }
      parts.healthChecks.append(try service.check(queries))
      parts.addRoutes { router in
        if hasDocument { addDocument(to: router) }
        addQueries(service, to: router)
      }
      try console.add(to: &parts, service, settings, logger: logger)
    }
  }

  package func addDocument(to router: Router<ServiceContext>) {
    router.addDocument("/openapi.json", "application/json", openAPI.encoded)
  }

  package func addCommands(
    _ endpoint: any CommandEndpoint, _ admission: Admission, to router: Router<ServiceContext>
  ) {
    let (group, routed) = (router.group().add(middleware: admission), routed)
    for route in commands {
      // `routed` has every route's path.
      let (path, names) = routed[route.path]!
      group.on(path, method: route.method) { request, context in
        var context = context
        context.parameterNames = names
        return try await route.respond(endpoint, request, context)
      }
    }
  }

  package func addQueries(_ service: Queries, to router: Router<ServiceContext>) {
    let (group, routed) = (router.group().add(middleware: service.admission), routed)
    for route in queries {
      // `routed` has every route's path.
      let (path, names) = routed[route.path]!
      service.add(route, at: path, names: names, to: group)
    }
  }
}

extension Console {
  /// Why it cannot work with these queries; nil if it can.
  fileprivate func problem(with queries: [QueryRoute]) -> String? {
    func query(_ path: String) -> QueryRoute? {
      let form = { (path: String) in path.replacing(/{[^\/]*}/, with: "{}") }
      return queries.first { form($0.path) == form(path) }
    }
    for list in newest {
      let routes = list.routes
      guard let rows = query(routes.list), rows.isList else {
        return "the console lists \(routes.list), which is no list"
      }
      if list.isSearched, !rows.parameters.contains(where: { $0.name == "q" }) {
        return "the console searches \(routes.list) for words, which has no parameter q"
      }
      guard query(routes.row).map({ !$0.isList && !$0.isStream }) ?? false else {
        return "the console opens \(routes.row), which is no row"
      }
      if let history = routes.history, query(history).map({ !$0.isList || $0.aggregate == nil }) ?? true {
        return "the console opens \(history), which is no history"
      }
    }
    return nil
  }
}

extension [String] {
  /// The first element that occurs twice.
  fileprivate var firstDouble: String? {
    var seen: Set<String> = []
    return first { !seen.insert($0).inserted }
  }
}
