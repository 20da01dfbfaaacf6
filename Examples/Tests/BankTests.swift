// snippet: imports
import Counterflow
import CounterflowTesting
import Testing

@testable import bank

// end snippet

@Suite("Bank, without servers")
struct BankDecisionTests {
  private func funded(_ amount: Int64, _ id: String = "1") throws -> Given {
    try given(
      Account.self, id: id, .opened(owner: id), .deposited(amount: amount, balance: amount, reference: "opening"))
  }

  @Test("a withdrawal takes at most the balance")
  func withdrawing() throws {
    try funded(5).when(Withdraw(amount: 5, reference: "r"))
      .then(Account.self, .withdrawn(amount: 5, balance: 0, reference: "r"))
    try funded(5).when(Withdraw(amount: 6, reference: "r")).thenRejected("overdrawn")
    try funded(5).when(Withdraw(amount: 0, reference: "r")).thenRejected("invalid-request")
    try givenNothing().when(Withdraw(amount: 1, reference: "r")).thenRejected("not-found")
  }

  @Test("a transfer changes both accounts, or neither")
  func transfer() throws {
    let both = try funded(10, "ada").and(Account.self, id: "bob", .opened(owner: "Bob"))
    try both.when(Transfer(from: "ada", to: "bob", amount: 4, reference: "rent"))
      .then(Account.self, id: "ada", .sent(amount: 4, balance: 6, reference: "rent", to: "bob"))
      .then(Account.self, id: "bob", .received(amount: 4, balance: 4, reference: "rent", from: "ada"))
    try both.when(Transfer(from: "bob", to: "ada", amount: 1, reference: "r")).thenRejected("overdrawn")
    try both.when(Transfer(from: "ada", to: "cyd", amount: 1, reference: "r")).thenRejected("not-found")
    try both.when(Transfer(from: "ada", to: "", amount: 1, reference: "r")).thenRejected("invalid-id")
  }

  @Test("A payment arrives, or is returned if the other account has been closed")
  func payments() throws {
    let sent = try given(Account.self, id: "bob", .opened(owner: "Bob"))
      .and(Account.self, id: "ada", .opened(owner: "Ada"), .deposited(amount: 10, balance: 10, reference: "opening"))
      .when(Dispatch(amount: 4, reference: "rent", to: "bob"), id: "ada")
      .then(Account.self, id: "ada", .dispatched(amount: 4, balance: 6, reference: "rent", to: "bob"))
    try sent.after.on(Deliver())
      .then(Account.self, id: "bob", .received(amount: 4, balance: 4, reference: "rent", from: "ada"))
      .then(Account.self, id: "ada")
    let closed = try given(Account.self, id: "bob", .opened(owner: "Bob"), .closed)
      .and(Account.self, id: "ada", .opened(owner: "Ada"), .deposited(amount: 4, balance: 4, reference: "opening"))
      .when(Dispatch(amount: 4, reference: "rent", to: "bob"), id: "ada").after
    try closed.on(Deliver())
      .then(Account.self, id: "ada", .returned(amount: 4, balance: 4, reference: "rent", reason: "not-found"))
      .then(Account.self, id: "bob")
  }

  @Test("balances and statements show what the events say")
  func rows() throws {
    let account = try funded(10, "ada")
      .and(Account.self, id: "ada", .withdrawn(amount: 3, balance: 7, reference: "cash"))
    #expect(try account.rows(of: Balances())["ada"]?.balance == 7)
    let statement = try account.rows(of: Statement())
    #expect(statement.keys == ["ada/2", "ada/3"])
    #expect(statement["ada/3"]?.amount == -3 && statement["ada/3"]?.balance == 7)
  }
}

@Suite("Bank, in memory")
struct BankJourneyTests {
  private let bank: InMemory

  init() async throws { bank = try await InMemory(Bank()) }

  /// Opens an account with some money.
  /// - Returns: its id.
  private func open(_ owner: String, _ amount: Int) async throws -> String {
    let opened = try await bank.post("/v1/accounts", body: OpenAccount(owner: owner))
    let id = try #require(opened.json["id"]?.string, "\(opened)")
    let deposit = Deposit(amount: Int64(amount), reference: "opening")
    #expect(try await bank.post("/v1/accounts/\(id)/deposits", body: deposit).status == 200)
    return id
  }

  private func balance(of id: String) async throws -> JSON? {
    try await bank.get("/v1/accounts/\(id)").json["balance"]
  }

  @Test("a transfer shows in balances, statements and months; one that is rejected changes nothing")
  func transfer() async throws {
    let (ada, bob) = (try await open("Ada", 1000), try await open("Bob", 1000))
    let body = #"{"to":"\#(bob)","amount":300,"reference":"rent"}"#
    let moved = try await bank.post("/v1/accounts/\(ada)/transfers", body)
    #expect(moved.status == 200 && moved.json["version"] == 3, "\(moved)")
    #expect(try await bank.get("/v1/accounts/\(bob)", after: moved.token).json["balance"] == 1300)
    #expect(try await bank.post("/v1/accounts/\(bob)/withdrawals", #"{"amount":50,"reference":"cash"}"#).status == 200)
    for (path, body, status, problem) in [
      ("withdrawals", #"{"amount":701,"reference":"x"}"#, 409, "overdrawn"),
      ("transfers", #"{"to":"\#(bob)","amount":701,"reference":"x"}"#, 409, "overdrawn"),
      ("transfers", #"{"to":"nobody","amount":1,"reference":"x"}"#, 404, "not-found"),
      ("deposits", #"{"amount":"5"}"#, 422, "invalid-request"),
    ] {
      let rejected = try await bank.post("/v1/accounts/\(ada)/\(path)", body)
      #expect(rejected.status == status && rejected.problem == problem, "\(path): \(rejected)")
    }
    #expect(try await bank.get("/v1/accounts/\(ada)?consistency=strong").json["balance"] == 700)
    let first = try await bank.get("/v1/accounts/\(bob)/statement?limit=2").json
    #expect(first["items"]?.array?.map { $0["amount"] } == [-50, 300])
    let cursor = try #require(first["nextCursor"]?.string)
    let rest = try await bank.get("/v1/accounts/\(bob)/statement?cursor=\(cursor)").json
    #expect(rest["items"]?.array?.map { $0["amount"] } == [1000] && rest["nextCursor"] == .null)
    let months: JSON = [
      "account": .string(bob), "month": "2026-01-01", "entries": 3, "paid_in": 1300, "paid_out": 50,
      "balance": ["smallest": 1000, "largest": 1300],
    ]
    #expect(try await bank.get("/v1/accounts/\(bob)/months").json["items"] == [months])
    #expect(try await bank.get("/v1/accounts?owner=Bob").json["items"]?.array?.map { $0["id"] } == [.string(bob)])
    #expect(
      try await bank.get("/v1/accounts/\(ada)/history").json["items"]?.array?.map { $0["type"] }
        == ["AccountOpened", "MoneyDeposited", "MoneySent"])
  }

  @Test("a payment arrives after it was sent, or comes back from an account that was closed")
  func payments() async throws {
    let (ada, bob, cyd) = (try await open("Ada", 10), try await open("Bob", 5), try await open("Cyd", 1))
    #expect(try await bank.post("/v1/accounts/\(cyd)/withdrawals", #"{"amount":1,"reference":"r"}"#).status == 200)
    #expect(try await bank.delete("/v1/accounts/\(cyd)").status == 200)
    for to in [bob, cyd] {
      let body = Dispatch(amount: 4, reference: "rent", to: to)
      #expect(try await bank.post("/v1/accounts/\(ada)/payments", body: body).status == 200)
    }
    for (id, expected) in [(ada, 6), (bob, 9), (cyd, 0)] as [(String, JSON)] {
      #expect(try await balance(of: id) == expected)
    }
    let events = try await bank.events(of: Account.self, ada)
    guard case .returned(4, 6, "rent", "not-found")? = events.last else {
      Issue.record("\(events)")
      return
    }
  }

  @Test("a repeated key gets the first response, and a stale If-Match is refused")
  func repeats() async throws {
    let ada = try await open("Ada", 10)
    let path = "/v1/accounts/\(ada)/withdrawals"
    let key = ["Idempotency-Key": "w-1"]
    let first = try await bank.post(path, #"{"amount":4,"reference":"r"}"#, headers: key)
    let again = try await bank.post(path, #"{"amount":4,"reference":"r"}"#, headers: key)
    #expect(first.status == 200 && again.body == first.body && again.token == first.token)
    #expect(
      try await bank.post(path, #"{"amount":5,"reference":"r"}"#, headers: key).problem == "idempotency-key-reused")
    let stale = try await bank.post(path, #"{"amount":1,"reference":"r"}"#, headers: ["If-Match": #""2""#])
    #expect(stale.status == 412 && stale.json["currentVersion"] == 3)
    let read = try await bank.get("/v1/accounts/\(ada)", after: first.token)
    let tag = try #require(read.entityTag)
    #expect(tag.hasPrefix(#""3-"#) && read.json["balance"] == 6)
    #expect(try await bank.get("/v1/accounts/\(ada)", headers: ["If-None-Match": tag]).status == 304)
    #expect(
      try await bank.post(path, #"{"amount":1,"reference":"r"}"#, headers: ["If-Match": tag]).json["version"] == 4)
  }

  @Test("while read models stand still a token is not honoured, and a strong read sees everything")
  func eventually() async throws {
    let ada = try await open("Ada", 10)
    await bank.pause()
    let taken = try await bank.post("/v1/accounts/\(ada)/withdrawals", #"{"amount":4,"reference":"r"}"#)
    #expect(try await balance(of: ada) == 10)
    #expect(try await bank.get("/v1/accounts/\(ada)?consistency=strong").json["balance"] == 6)
    let early = try await bank.get("/v1/accounts/\(ada)", headers: ["Prefer": "wait=0"], after: taken.token)
    #expect(early.status == 503 && early.problem == "not-caught-up")
    async let waiting = bank.get("/v1/accounts/\(ada)", headers: ["Prefer": "wait=30"], after: taken.token)
    try await bank.resume()
    #expect(try await waiting.json["balance"] == 6)
  }
}
