package import AccessKit
public import HTTPKit
public import Hummingbird
package import Logging
internal import Postgres
public import ServiceLifecycle
public import SettingsKit

/// A part of an application that can run as its own process: command-service, relay, projector, query-service, reactor.
public struct Role: Sendable {
  /// The name of the process in logs and traces.
  public let name: String
  private let port: Setting<Int>
  /// All settings that the role reads from the environment.
  package let settings: [SettingDescription]
  /// Whether its requests need admission.
  private let admits: Bool
  private let parts: @Sendable (Settings, Logger, Access) async throws -> RoleParts

  /// Creates a role.
  /// - Parameters:
  ///   - name: the name of the process in logs and traces.
  ///   - port: the default port of its HTTP server.
  ///   - settings: the settings other than those of every process.
  ///   - parts: makes the services and the routes of the process.
  package init(
    _ name: String, port: Int, settings: [SettingDescription],
    parts: @escaping @Sendable (Settings, Logger) async throws -> RoleParts
  ) {
    self.init(name, port: port, settings: settings, admits: false) { settings, logger, _ in
      try await parts(settings, logger)
    }
  }

  /// Creates a role whose requests need admission.
  /// - Parameters:
  ///   - name: the name of the process in logs and traces.
  ///   - port: the default port of its HTTP server.
  ///   - settings: the settings other than those of every process and those of authentication.
  ///   - parts: gets the process's one access, which all its roles share.
  package init(
    _ name: String, port: Int, settings: [SettingDescription],
    admitting parts: @escaping @Sendable (Settings, Logger, Access) async throws -> RoleParts
  ) {
    self.init(name, port: port, settings: settings + AccessSettings.all, admits: true, parts: parts)
  }

  private init(
    _ name: String, port: Int, settings: [SettingDescription], admits: Bool,
    parts: @escaping @Sendable (Settings, Logger, Access) async throws -> RoleParts
  ) {
    self.name = name
    self.port = HTTPSettings.port(default: port)
    self.settings = settings + [self.port.description] + CommonSettings.ofEveryProcess
    (self.admits, self.parts) = (admits, parts)
  }

  /// Combines several roles into one process with one HTTP server.
  package static func together(_ name: String, port: Int, _ roles: [Role]) -> Role {
    let settings: [SettingDescription] = roles.flatMap(\.settings).reduce(into: []) {
      if !$0.contains($1) { $0.append($1) }
    }
    return Role(name, port: port, settings: settings, admits: roles.contains(where: \.admits)) {
      settings, logger, access in
      var all = RoleParts()
      var translations: [@Sendable (any Error) -> Problem?] = []
      for role in roles {
        let parts = try await role.parts(settings, logger, access)
        all.services += parts.services
        all.workers += parts.workers
        all.healthChecks += parts.healthChecks.map { $0.named("\(role.name) \($0.name)") }
        all.routes += parts.routes
        translations.append(parts.translate)
      }
      all.translate = { [translations] error in translations.lazy.compactMap { $0(error) }.first }
      return all
    }
  }

  /// Runs the role as this process, until SIGTERM or SIGINT.
  public func main(_ settings: Settings = Settings()) async { await ServiceMain.run(name, settings, services) }

  private func services(_ settings: Settings, _ logger: Logger) async throws -> [any Service] {
    let access = admits ? try await Access(settings, logger: logger) : .open
    let parts = try await parts(settings, logger, access)
    let permit = BuildPermit(parts.healthChecks, logger: logger)
    let mayRun = await permit.isGiven()
    let router = HTTPServing.router()
    let version = HealthCheck.saying("version") { PackageVersion.current.description }
    router.addHealth([version] + parts.healthChecks + access.healthChecks)
    try router.addMetrics(settings)
    if mayRun { for add in parts.routes { add(router) } } else { permit.refuseRequests(to: router) }
    let responder = ProblemResponder(router, elsewhere: parts.elsewhere, translate: parts.translate)
    let server = try HTTPServing.server(responder, settings, port: port, logger: logger)
    guard mayRun else { return [server, permit] }
    return parts.services + access.services + [server, permit] + parts.workers
  }
}

/// The parts that a role adds to its process.
public struct RoleParts {
  /// Services that requests need. They stop after the HTTP server has finished the requests in progress.
  public var services: [any Service] = []
  /// Services that stop before the HTTP server.
  public var workers: [any Service] = []
  /// Conditions that must hold for the process to be ready.
  public var healthChecks: [HealthCheck] = []
  var routes: [(Router<ServiceContext>) -> Void] = []
  /// Routes that another service answers at the same address.
  public var elsewhere: [(method: String, path: String)] = []
  /// Returns the problem for an error of the role; nil for an unknown error.
  public var translate: @Sendable (any Error) -> Problem? = { _ in nil }

  /// Creates parts that are empty.
  public init() {}

  /// Adds routes to those of the process.
  /// - Parameter add: adds routes to the router of the HTTP server.
  public mutating func addRoutes(_ add: @escaping (Router<ServiceContext>) -> Void) { routes.append(add) }
}
