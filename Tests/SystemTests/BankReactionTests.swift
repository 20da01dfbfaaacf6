import Foundation
import JSON
import Postgres
import TestSupport
import Testing

@Suite("Bank: payments")
struct BankReactionTests {
  private static let accounts = 20
  private static let payments = 400

  @Test(
    "With reactors that are killed and suspended, each payment arrives once or is returned once",
    .freshStores, .freshVirtualHost)
  func payments() async throws {
    let system = System(of: "bank")
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    var reactors = [try await system.startReady(.reactor), try await system.startReady(.reactor)]
    let owner = try await FreshDatabase.current.connect()
    try await eventually("the reaction has begun") {
      try await owner.query("select count(*) from projections.checkpoints where owner is not null").value(Int.self)
        == 16
    }
    let ids = try await open(at: commands.http)
    // Every fifth account is closed before it is paid.
    for id in stride(from: 0, to: Self.accounts, by: 5).map({ ids[$0] }) {
      let rest: JSON = ["amount": 1_000, "reference": "closing"]
      #expect(try await commands.http.post("/v1/accounts/\(id)/withdrawals", rest).status == 200)
      #expect(try await commands.http.send("DELETE", "/v1/accounts/\(id)").status == 200)
    }
    for number in 0..<Self.payments {
      // From an open account to any other one.
      let from = number % (Self.accounts / 5) * 5 + 1 + number % 4
      let body: JSON = [
        "amount": 1, "reference": .string("p\(number)"), "to": .string(ids[(from + 1 + number % 19) % Self.accounts]),
      ]
      let answer = try await commands.http.post("/v1/accounts/\(ids[from])/payments", body)
      #expect(answer.status == 200, "\(answer.text)")
      switch number {
      case 100, 300:
        reactors[0].process.signal(SIGKILL)
        reactors = [reactors[1], try await system.start(.reactor)]
      case 200:
        let stopped = try await reactors[0].process.suspend()
        reactors.append(try await system.start(.reactor))
        try await eventually("another reactor has its partitions") {
          try await owner.query(
            """
            select count(*) from projections.checkpoints c join projections.workers w on w.id = c.owner
            where w.expires_at > clock_timestamp()
            """
          ).value(Int.self) == 16
        }
        ChildProcess.resume(stopped)
      default: break
      }
    }
    func count(_ type: String) async throws -> Int {
      try await owner.query(
        "select count(*) from event_store.events where type = \(type) and data ->> 'reference' like 'p%'"
      ).value(Int.self)
    }
    try await eventually("each payment has arrived or come back") {
      try await count("MoneyReceived") + count("PaymentReturned") >= Self.payments
    }
    let once = try await owner.query(
      """
      select count(*), count(distinct data ->> 'reference'),
        count(*) filter (where type = 'PaymentReturned') from event_store.events
      where type in ('MoneyReceived', 'PaymentReturned') and data ->> 'reference' like 'p%'
      """
    ).decode((Int, Int, Int).self)
    let (all, distinct, returned) = try #require(once.first)
    #expect(all == Self.payments && distinct == Self.payments)
    #expect(returned > 0 && returned < Self.payments)
    // What follows from a request keeps its correlation, and names what caused it.
    let foreign = try await owner.query(
      """
      select count(*) from event_store.events r
      join event_store.events d on d.type = 'PaymentDispatched' and d.data ->> 'reference' = r.data ->> 'reference'
      where r.type in ('MoneyReceived', 'PaymentReturned') and r.data ->> 'reference' like 'p%'
        and (r.metadata ->> 'correlationId' <> d.metadata ->> 'correlationId'
          or r.metadata ->> 'causationId' <> 'reaction/deliver/' || d.id)
      """
    ).value(Int.self)
    #expect(foreign == 0)
    let total = try await owner.query(
      """
      select sum((data ->> 'balance')::bigint)::bigint from (
        select distinct on (stream) stream, data from event_store.events
        where data ->> 'balance' is not null order by stream, version desc) e
      """
    ).value(Int64.self)
    #expect(total == Int64(Self.accounts - Self.accounts / 5) * 1_000)
    let metrics = try await reactors[reactors.count - 1].http.get("/metrics").text
    #expect(metrics.contains(#"counterflow_reaction_appends_total{reaction="deliver"}"#), "\(metrics)")
    let status = try await bank(system, "status", "--json")
    #expect(status.contains(#""projection":"reaction/deliver""#), "\(status)")
    try await eventually("the ledger is complete") {
      let verify = try system.run("bank", ["verify", "reaction/deliver"])
      return try await verify.wait() == 0
    }
    let rebuild = try system.run("bank", ["rebuild", "reaction/deliver"])
    #expect(try await rebuild.wait() != 0 && rebuild.output.contains("must not react again"), "\(rebuild.output)")
    #expect(try await bank(system, "deadlines").contains("Scheduled commands: 0 wait"))
  }

  private func bank(_ system: System, _ arguments: String...) async throws -> String {
    let process = try system.run("bank", arguments)
    try await process.wait()
    return process.output
  }

  private func open(at http: HTTPProbe) async throws -> [String] {
    var ids: [String] = []
    for number in 0..<Self.accounts {
      let opened = try await http.post("/v1/accounts", ["owner": .string("owner \(number)")])
      let id = try #require(opened.json["id"]?.string, "\(opened.text)")
      let deposit: JSON = ["amount": 1_000, "reference": "opening"]
      #expect(try await http.post("/v1/accounts/\(id)/deposits", deposit).status == 200)
      ids.append(id)
    }
    return ids
  }
}
