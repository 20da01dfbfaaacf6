import AccessKit
import CommandKit
import CommandProcessing
import CommerceAPI
import CommerceReadModels
import EventSourcing
import HTTPKit
import HTTPTypes
import Hummingbird
import Logging
import Postgres
import PostgresEventStore
import Projections
import SettingsKit
import TestSupport
import Testing

@testable import CommerceCommands
@testable import CommerceQueries
@testable import QueryKit

@Suite("Routes")
struct RouteTests {
  @Test("Each service has exactly the routes of its table")
  func table() async throws {
    let commands = HTTPServing.router()
    let queries = HTTPServing.router()
    let pool = PostgresPool(PostgresConfiguration(url: ""), logger: .quiet)
    let store = InMemoryEventStore()
    CommandRoutes(
      commands: Commands(
        CommandProcessor(store, logger: .quiet), store, tokenKey: ConsistencyToken.Key([])), keys: PersonalKeys(pool),
      currency: "GBP"
    ).add(to: commands)
    let (heads, activity) = (StoreHeads(pool, activity: Activity(), logger: .quiet), Activity())
    let progress = ReadProgress(pool, host: "local", heads: heads, activity: activity, logger: .quiet)
    let readStore = ReadStore([.init(access: ReadAccess(byKey: pool, lists: pool), progress: progress)])
    let responder = QueryResponder(
      store: readStore, heads: heads, tokenKey: ConsistencyToken.Key([]),
      histories: Histories(pool, PersonalKeys(pool), sealed: []),
      cache: nil)
    let log = ChangeLog(
      newest: store, older: store, readStore, reads: [], heads: heads, activity: activity, logger: .quiet)
    let all = Queries(
      responder: responder, admission: Admission(.open, scope: .queriesRead), store: readStore, heads: heads,
      changes: ChangeRoutes(log: log, responder: responder, limit: 1, heartbeat: .seconds(15)), events: EventNames([]))
    all.addChanges(to: queries)
    QueryRoutes(queries: all).add(to: queries)
    for (router, table) in [(commands, CommerceRoutes.commands), (queries, CommerceRoutes.queries)] {
      _ = router.buildResponder()
      let routes = router.routes.map { "\($0.method.rawValue) \($0.path)" }
      #expect(routes.sorted() == table.map { "\($0.method) \($0.path)" }.sorted())
    }
  }
}
