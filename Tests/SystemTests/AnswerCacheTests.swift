import CommerceReadModels
import EventSourcing
import HTTPKit
import HTTPTypes
import Hummingbird
import JSON
import Postgres
import PostgresEventStore
import SettingsKit
import Synchronization
import TestSupport
import Testing

@testable import Projections
@testable import QueryKit

@Suite("Response cache")
struct AnswerCacheTests {
  private func reads(_ number: Int) -> [Reads] { [Reads("orders", StreamID(rawValue: "order-\(number)"))] }

  private func mark(_ position: Int64) -> ReadProgress.Mark {
    ReadProgress.Mark(parts: [.init(generation: 1, historyID: nil, position: position, parked: 0)])
  }

  private let answer = QueryResult(bytes: Array(repeating: 0x20, count: 400))

  @Test("A cached response is found until any of its checkpoints moves")
  func marks() {
    let cache = ResponseCache(capacity: 100_000)
    #expect(cache.find(reads(1), at: mark(1)) == nil)
    cache.keep(answer, "tag", of: reads(1), at: mark(1))
    #expect(cache.find(reads(1), at: mark(1))?.tag == "tag")
    #expect(cache.find(reads(2), at: mark(1)) == nil)
    #expect(cache.find(reads(1) + [Reads("sales")], at: mark(1)) == nil)
    #expect(cache.find(reads(1), at: mark(2)) == nil)
    cache.keep(answer, "later", of: reads(1), at: mark(2))
    #expect(cache.find(reads(1), at: mark(2))?.tag == "later")
  }

  @Test("The cache keeps its bound, evicts unused responses and keeps used ones")
  func bound() {
    // Room for ten responses with their overhead.
    let cache = ResponseCache(capacity: 10_000)
    for number in 1...200 {
      cache.keep(answer, "tag", of: reads(number), at: mark(1))
      #expect(cache.find(reads(1), at: mark(1)) != nil, "\(number)")
    }
    let found = (1...200).filter { cache.find(reads($0), at: mark(1)) != nil }
    #expect((5...10).contains(found.count) && found.first == 1 && found.last == 200)
    cache.keep(QueryResult(bytes: Array(repeating: 0x20, count: 6_000)), "too large", of: reads(300), at: mark(1))
    #expect(cache.find(reads(300), at: mark(1)) == nil && cache.find(reads(200), at: mark(1)) != nil)
  }

  @Test(
    "Cached orders, returns, products and customers are used until anything in them changes",
    .tags(.system), .needsServers, .freshDatabase(), .freshVirtualHost)
  func coherence() async throws {
    let system = System()
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let relay = try await system.startReady(.relay)
    let projector = try await system.startReady(.projector)
    let queries = try await system.startReady(.queryService)
    func post(_ path: String, _ json: JSON) async throws -> String {
      let answer = try await commands.http.post(path, json)
      #expect(answer.status < 300, "\(path): \(answer.text)")
      return try #require(answer.headers["consistency-token"])
    }
    func get(_ path: String, _ token: String) async throws -> JSON {
      let answer = try await queries.http.send(
        "GET", path, headers: ["Consistency-Token": token, "Prefer": "wait=30"])
      #expect(answer.status == 200, "\(path): \(answer.text)")
      return answer.json
    }
    func hits() async throws -> Int {
      let text = try await queries.http.get("/metrics").text
      return text.firstMatch(of: /(?m)^counterflow_query_cache_hits_total (\d+)/).flatMap { Int($0.output.1) } ?? 0
    }
    _ = try await post("/v1/products", ["sku": "LAMP", "name": "Lamp", "unitPrice": 5, "tracksStock": false])
    let registered = try await post("/v1/customers", ["customerId": "ada", "name": "Ada", "country": "France"])
    func order(_ id: String) -> JSON {
      ["orderId": .string(id), "customerId": "ada", "lines": [["sku": "LAMP", "quantity": 1]]]
    }
    let placed = try await post("/v1/orders", order("o-1"))
    let returned: JSON = ["returnId": "r-1", "lines": [["sku": "LAMP", "quantity": 1, "unitPrice": 5]]]
    var token = try await post("/v1/returns", returned)
    for (path, token) in [
      ("/v1/customers/ada", registered), ("/v1/customers/ada", placed), ("/v1/orders/o-1", placed),
      ("/v1/products/LAMP", placed), ("/v1/products/LAMP", token), ("/v1/returns/r-1", token),
    ] { _ = try await get(path, token) }
    for round in 2...4 {
      for path in ["/v1/orders/o-1", "/v1/returns/r-1", "/v1/products/LAMP", "/v1/customers/ada"] {
        let (before, first) = (try await hits(), try await get(path, token))
        try await eventually("\(path) is in memory") {
          #expect(try await get(path, token) == first)
          return try await hits() > before
        }
      }
      token = try await post("/v1/orders", order("o-\(round)"))
      #expect(try await get("/v1/customers/ada", token)["orders"] == .integer(Int64(round)))
      #expect(try await get("/v1/products/LAMP", token)["unitsSold"] == .integer(Int64(round)))
      let price: JSON = ["unitPrice": .integer(Int64(round) * 5)]
      let changed = try await commands.http.send("PUT", "/v1/products/LAMP/price", body: price.encoded)
      token = try #require(changed.headers["consistency-token"])
      #expect(try await get("/v1/products/LAMP", token)["unitPrice"] == .integer(Int64(round) * 5))
    }
    token = try await post("/v1/orders/o-1/payment", ["amount": 5])
    #expect(try await get("/v1/orders/o-1", token)["status"] == "paid")
    withExtendedLifetime((relay, projector)) {}
  }

  @Test(
    "The cache is used only while the read store's checkpoints are known to be current", .tags(.integration),
    .needsServers, .freshDatabase(eventStoreSchema, projectionsSchema))
  func pauses() async throws {
    let pool = FreshDatabase.current.pool()
    try await pool.query(
      """
      insert into projections.generations (projection, generation, version, partition_count, tables, state, categories)
      values ('orders', 1, 1, 1, '{}', 'serving', '{order}')
      """)
    try await pool.query(
      """
      insert into projections.checkpoints (projection, generation, partition, partition_count, history_id, position, event_id)
      select 'orders', 1, 0, 1, history_id, 1, gen_random_uuid() from event_store.identity
      """)
    let (heads, activity) = (StoreHeads(pool, activity: Activity(), logger: .quiet), Activity(busy: .milliseconds(25)))
    let progress = ReadProgress(pool, host: "local", heads: heads, activity: activity, logger: .quiet)
    let server = ReadStore.Server(access: ReadAccess(byKey: pool, lists: pool), progress: progress)
    let responder = QueryResponder(
      store: ReadStore([server]), heads: heads, tokenKey: ConsistencyToken.Key([]),
      histories: Histories(pool, PersonalKeys(pool), sealed: []), cache: ResponseCache(capacity: 100_000))
    let request = Request(
      head: HTTPRequest(method: .get, scheme: nil, authority: nil, path: "/v1/orders/1"), body: .init(buffer: .init()))
    let read = Read()
    func isFromMemory() async throws -> Bool {
      let before = read.times.load(ordering: .relaxed)
      _ = try await responder.answer(request, reads(1), isShared: false) { _ in
        read.times.add(1, ordering: .relaxed)
        return answer
      }
      return read.times.load(ordering: .relaxed) == before
    }
    #expect(try await !isFromMemory())
    let (asking, looking) = (Task { await heads.run() }, Task { await progress.run() })
    try await eventually("it is in memory") { try await isFromMemory() }
    // The same happens while the server hangs, or after a pause of the checks: the row may have changed.
    looking.cancel()
    await looking.value
    try await eventually("what is known is no longer of this moment") { !progress.isCurrent }
    #expect(try await !isFromMemory())
    asking.cancel()
    await asking.value
    await pool.close()
  }

  /// Counts how often the tables are read.
  private final class Read: Sendable {
    let times = Atomic(0)
  }
}
