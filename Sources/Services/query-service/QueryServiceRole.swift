import Commerce
import CommerceAPI
import CommerceReadModels
import Hummingbird
import JSON
import Observability
import QueryKit
import ServiceKit

extension Role {
  static let commerceQueries = Role.queryService(
    commerceReadModels(), events: commerceEvents, sealed: [personalData],
    settings: [ProcessWatch.processes.description, ClientTLS.authorities.description]
  ) { queries, settings, logger, parts in
    let overview = Overview(
      ProcessWatch(
        try settings[ProcessWatch.processes], token: try settings[Observing.metricsToken],
        client: try ProcessClient(settings)), queries.store, heads: queries.heads, logger: logger)
    let access = queries.admission.access
    parts.workers.append(overview)
    parts.elsewhere = CommerceRoutes.commands
    parts.addRoutes { router in
      router.addDocument("/openapi.yaml", "application/yaml", CommerceRoutes.openAPI)
      QueryRoutes(queries: queries).add(to: router.group().add(middleware: queries.admission))
      ConsoleRoutes.addPage(to: router)
      ConsoleRoutes(overview: overview, readStore: queries.store).add(
        to: router.group().add(middleware: Admission(access, scope: .admin)))
    }
  }

  private static let personalData = SealedEvents(Customer.category, member: "sealed") { bytes in
    let personal = try PersonalData(parsing: bytes)
    let members = [("name", personal.name), ("email", personal.email)]
    return members.compactMap { name, value in value.map { JSON.Member(name, .string($0)) } }
  }
}
