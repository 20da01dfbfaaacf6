import Foundation
import JSON
import Postgres
import Synchronization
import TestSupport
import Testing

/// The current command-service, and the number of transfers begun.
private final class CommandService: Sendable {
  private let state: Mutex<(service: RunningService, begun: Int)>

  init(_ service: RunningService) { state = Mutex((service, 0)) }

  var service: RunningService {
    get { state.withLock { $0.service } }
    set { state.withLock { $0.service = newValue } }
  }
  var http: HTTPProbe { service.http }
  var process: ChildProcess { service.process }
  var begun: Int { state.withLock { $0.begun } }

  /// The number of the next transfer; nil after 10,000.
  func nextTransfer() -> Int? {
    state.withLock { state in
      guard state.begun < 10_000 else { return nil }
      state.begun += 1
      return state.begun
    }
  }

  /// Repeats the transfer with the same key until there is a response: the process may be killed meanwhile.
  func transfer(_ number: Int, _ from: String, _ to: String, _ amount: Int64) async throws -> HTTPAnswer {
    let body: JSON = ["to": .string(to), "amount": .integer(amount), "reference": "r"]
    var answer: HTTPAnswer?
    try await eventually("transfer \(number) is answered", within: .seconds(120)) {
      answer = try? await http.send(
        "POST", "/v1/accounts/\(from)/transfers", body: body.encoded, headers: ["Idempotency-Key": "t\(number)"])
      return answer.map { $0.status < 500 } ?? false
    }
    return answer!
  }
}

@Suite("Bank")
struct BankTests {
  private static let openingBalance: Int64 = 1_000

  private func open(_ count: Int, at http: HTTPProbe) async throws -> [String] {
    var accounts: [String] = []
    for number in 0..<count {
      let opened = try await http.post("/v1/accounts", ["owner": .string("owner \(number)")])
      let id = try #require(opened.json["id"]?.string, "\(opened.text)")
      let deposit: JSON = ["amount": .integer(Self.openingBalance), "reference": "opening"]
      #expect(try await http.post("/v1/accounts/\(id)/deposits", deposit).status == 200)
      accounts.append(id)
    }
    return accounts
  }

  @Test(
    "In one process balances, statement and months are right, and rejected commands change nothing", .freshDatabase())
  func oneProcess() async throws {
    let service = try await RunningService.development(of: "bank")
    let http = service.http
    let accounts = try await open(2, at: http)
    let (ada, bob) = ("/v1/accounts/\(accounts[0])", "/v1/accounts/\(accounts[1])")

    let moved = try await http.post(
      ada + "/transfers", ["to": .string(accounts[1]), "amount": 300, "reference": "rent"])
    #expect(moved.status == 200 && moved.json["version"] == 3, "\(moved.text)")
    #expect(
      try await http.post(bob + "/withdrawals", ["amount": 50, "reference": "cash"]).json["version"] == 4)

    let refused: [(String, JSON, Int, String)] = [
      ("/withdrawals", ["amount": 701, "reference": "x"], 409, "overdrawn"),
      ("/withdrawals", ["amount": .integer(.min), "reference": "x"], 422, "invalid-request"),
      ("/deposits", ["amount": .integer(.max), "reference": "x"], 422, "invalid-request"),
      ("/transfers", ["to": .string(accounts[1]), "amount": 701, "reference": "x"], 409, "overdrawn"),
      ("/transfers", ["to": .string(accounts[0]), "amount": 1, "reference": "x"], 422, "invalid-request"),
      ("/transfers", ["to": "nobody", "amount": 1, "reference": "x"], 404, "not-found"),
      ("/transfers", ["to": "", "amount": 1, "reference": "x"], 422, "invalid-id"),
      (
        "/transfers", ["from": "me", "to": .string(accounts[1]), "amount": 1, "reference": "x"], 422, "invalid-request"
      ),
    ]
    for (path, body, status, problem) in refused {
      let answer = try await http.post(ada + path, body)
      #expect(answer.status == status && answer.problem == problem, "\(path): \(answer.text)")
    }
    #expect(try await http.get(ada + "?consistency=strong").json["balance"] == 700)
    #expect(try await http.get(bob + "?consistency=strong").json["balance"] == 1250)

    try await eventually("the statement is there") {
      try await http.get(bob + "/statement").json["items"]?.array?.count == 3
    }
    let first = try await http.get(bob + "/statement?limit=2").json
    #expect(first["items"]?.array?.map { $0["amount"] } == [-50, 300])
    #expect(first["items"]?.array?.map { $0["balance"] } == [1250, 1300])
    #expect(first["items"]?[1]?["other"] == .string(accounts[0]))
    let rest = try await http.get(bob + "/statement?cursor=\(first["nextCursor"]?.string ?? "")").json
    #expect(rest["items"]?.array?.map { $0["amount"] } == [1000] && rest["nextCursor"] == .null)
    let month = try #require(try await http.get(bob + "/months").json["items"]?[0])
    #expect(month["entries"] == 3 && month["paid_in"] == 1300 && month["paid_out"] == 50, "\(month)")
    #expect(month["balance"] == ["smallest": 1000, "largest": 1300])
    // Inserts an earlier month, which the test cannot produce by commands.
    try await FreshDatabase.current.connect().query(
      """
      insert into read_models.statement_months_g1 (account, month, partition, entries, paid_in, paid_out)
      values (\(accounts[1]), '2020-02-01', 0, 1, 7, 0)
      """)
    let earlier = try await http.get(bob + "/months?limit=1").json
    #expect(earlier["items"]?.array?.map { $0["month"] } == ["2020-02-01"])
    let later = try await http.get(bob + "/months?limit=1&cursor=\(earlier["nextCursor"]?.string ?? "")").json
    #expect(later["items"] == [month] && later["nextCursor"] == .null, "\(later)")
    #expect(try await http.get(bob + "/months?month=2020-02-01").json["items"]?[0]?["paid_in"] == 7)
    for path in ["/months?month=May", "/months?cursor=x", "/statement?cursor=x", "/months?limit=0"] {
      #expect(try await http.get(bob + path).status == 400, "\(path)")
    }
    // Another read model than the statement's: it may be later.
    try await eventually("the balances are there") {
      try await http.get("/v1/accounts?owner=owner%201").json["items"]?.array?.map { $0["id"] } == [
        .string(accounts[1])
      ]
    }
    #expect(
      try await http.get(bob + "/history").json["items"]?.array?.map { $0["type"] }
        == ["AccountOpened", "MoneyDeposited", "MoneyReceived", "MoneyWithdrawn"])
    let wrong = try await http.get("/v1/changes?types=MoneySent,MoneyLost")
    #expect(wrong.status == 400 && wrong.problem == "invalid-parameter", "\(wrong.text)")
    #expect(wrong.json["detail"]?.string?.contains("of these: AccountClosed, AccountOpened, MoneyDeposited") == true)
    #expect(!service.process.output.contains(#""level":"error""#), "\(service.process.output)")
  }

  @Test("A process that lacks a schema names the application's own program", .freshDatabase())
  func notMigrated() async throws {
    let service = try await RunningService(
      try System(of: "bank").run("bank", ["query-service"], settings: ["HTTP_PORT": "0"]))
    let answer = try await service.http.get("/readyz")
    #expect(answer.status == 503 && answer.text.contains("run bank migrate"), "\(answer.text)")
  }

  @Test(
    "10,000 transfers with kills between them neither create nor destroy money at any position",
    .freshStores, .freshVirtualHost)
  func transfers() async throws {
    let system = System(of: "bank")
    try await system.migrate()
    let commands = CommandService(try await system.startReady(.commandService))
    try await system.startReady(.relay)
    var projectors = [try await system.startReady(.projector), try await system.startReady(.projector)]
    try await system.startReady(.reactor)
    let accounts = try await open(100, at: commands.http)
    let total = Self.openingBalance * 100

    let clients = Task {
      try await withThrowingTaskGroup(of: [String].self) { group in
        for client in 0..<16 {
          group.addTask {
            var random = SplitMix(state: UInt64(client))
            var wrong: [String] = []
            while let number = commands.nextTransfer() {
              let (from, to) = (accounts.randomElement(using: &random)!, accounts.randomElement(using: &random)!)
              let amount = Int64.random(in: 1...400, using: &random)
              let answer = try await commands.transfer(number, from, to, amount)
              if ![200, 409, 422].contains(answer.status) { wrong.append(answer.text) }
            }
            return wrong
          }
        }
        return try await group.reduce(into: []) { $0 += $1 }
      }
    }
    for kill in 1...3 {
      try await eventually("a quarter more is done", within: .seconds(300)) { commands.begun > kill * 2_500 }
      let old = commands.process
      old.signal(SIGKILL)
      try await old.wait()
      commands.service = try await system.startReady(.commandService)
      projectors[0].process.signal(SIGKILL)
      projectors = [projectors[1], try await system.startReady(.projector)]
    }
    #expect(try await clients.value == [])

    // Checks the sum at each position where a command's events end.
    let events = try await FreshDatabase.current.connect().query(
      """
      select stream, coalesce((data->>'balance')::bigint, 0), metadata->>'causationId' from event_store.events order by position
      """
    ).decode((String, Int64, String).self)
    var (balances, sum, isNegative, isComplete, wrong) = ([String: Int64](), Int64(0), false, false, 0)
    for (index, event) in events.enumerated() {
      sum += event.1 - (balances[event.0] ?? 0)
      balances[event.0] = event.1
      isNegative = isNegative || event.1 < 0
      isComplete = isComplete || sum == total
      let endsCommand = index + 1 == events.count || events[index + 1].2 != event.2
      if endsCommand, isComplete, sum != total { wrong += 1 }
    }
    #expect(!isNegative && isComplete && wrong == 0, "\(wrong) positions, at the end \(sum)")
    let moved = events.count { $0.0 == "account-\(accounts[0])" }
    #expect(moved > 2 && events.count > 10_000, "\(events.count) events")

    let reader = try await FreshDatabase.readStore.connect()
    try await eventually("the read table comes to the same", within: .seconds(120)) {
      let read = try await reader.query("select key, (document->>'balance')::bigint from read_models.balances")
        .decode((String, Int64).self)
      return Dictionary(uniqueKeysWithValues: read.map { ("account-" + $0.0, $0.1) }) == balances
    }
    let verify = try system.run("bank", ["verify"])
    #expect(try await verify.wait() == 0, "\(verify.output)")
  }
}
