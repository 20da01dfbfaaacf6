internal import AccessKit
internal import HTTPKit
internal import Hummingbird
public import Logging
public import QueryKit
public import ServiceKit
public import SettingsKit

extension Console {
  /// The settings that the console reads, besides those of every query-service.
  public static let settings = [ProcessWatch.processes.description, ClientTLS.authorities.description]

  /// Adds the console to a query-service.
  /// - Parameters:
  ///   - parts: get its routes, and the services that they need.
  ///   - queries: the query-service's own.
  ///   - settings: has `Console.settings`.
  ///   - logger: gets what an operator should know.
  /// - Throws: `SettingError` for a setting that is missing or not valid.
  public func add(to parts: inout RoleParts, _ queries: Queries, _ settings: Settings, logger: Logger) throws {
    let writeStore = Databases.watch(
      url: try settings[CommonSettings.writeDatabaseURL], name: "query-service console", timeout: .seconds(5),
      logger: logger)
    let watch = ProcessWatch(
      try settings[ProcessWatch.processes], token: try settings[Observing.metricsToken],
      client: try ProcessClient(settings))
    let projections = ProjectionWatch(queries.store, writeStore: writeStore, logger: logger)
    let overview = Overview(watch, projections, heads: queries.heads)
    parts.services.append(writeStore)
    parts.workers.append(overview)
    let access = queries.admission.access
    parts.addRoutes { router in
      ConsoleRoutes.addPage(of: self, to: router)
      ConsoleRoutes(overview: overview, projections: projections).add(
        to: router.group().add(middleware: Admission(access, scope: .admin)))
    }
  }
}
