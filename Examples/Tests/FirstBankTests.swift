import Counterflow
import CounterflowTesting
import Testing

@testable import first_bank

// snippet: accounts
@Suite("Accounts")
struct AccountTests {
  @Test("A withdrawal takes at most the balance")
  func withdrawing() throws {
    let ada = try given(Account.self, .opened(owner: "Ada"), .deposited(amount: 5, balance: 5, reference: "gift"))
    try ada.when(Withdraw(amount: 5, reference: "cash"))
      .then(Account.self, .withdrawn(amount: 5, balance: 0, reference: "cash"))
    try ada.when(Withdraw(amount: 6, reference: "cash")).thenRejected("overdrawn")
    try ada.when(Withdraw(amount: 0, reference: "cash")).thenRejected("invalid-request")
    try givenNothing().when(Withdraw(amount: 1, reference: "cash")).thenRejected("not-found")
  }

  @Test("An account is opened once, and its id belongs to its owner")
  func opening() throws {
    let opened = try givenNothing().when(OpenAccount(owner: "Ada"), id: "ada")
      .then(Account.self, id: "ada", .opened(owner: "Ada"))
    try opened.after.when(OpenAccount(owner: "Ada"), id: "ada").thenNothing()
    try opened.after.when(OpenAccount(owner: "Bob"), id: "ada").thenRejected("taken")
  }

  @Test("The balances show the last balance of each account")
  func balances() throws {
    let rows = try given(Account.self, id: "ada", .opened(owner: "Ada"))
      .and(Account.self, id: "bob", .opened(owner: "Bob"), .deposited(amount: 5, balance: 5, reference: "gift"))
      .rows(of: Balances())
    #expect(rows.keys == ["ada", "bob"])
    #expect(rows["bob"]?.balance == 5)
    #expect(try rows.document("ada") == #"{"id":"ada","owner":"Ada","balance":0}"#)
  }
}
// end snippet

// snippet: whole
@Suite("The whole bank, in memory")
struct BankTests {
  @Test("A client sees what it paid in, and cannot withdraw more")
  func payingIn() async throws {
    let bank = try await InMemory(Bank())
    _ = try await bank.put("/v1/accounts/ada", #"{"owner":"Ada"}"#)
    let deposit = try await bank.post("/v1/accounts/ada/deposits", #"{"amount":5,"reference":"gift"}"#)
    #expect(deposit.status == 200)
    #expect(try await bank.get("/v1/accounts/ada", after: deposit.token).json["balance"] == 5)
    let withdrawal = try await bank.post("/v1/accounts/ada/withdrawals", #"{"amount":6,"reference":"cash"}"#)
    #expect(withdrawal.status == 409 && withdrawal.problem == "overdrawn")
  }

  @Test("A query with a token waits for the read model")
  func lagging() async throws {
    let bank = try await InMemory(Bank())
    await bank.pause()
    let opened = try await bank.put("/v1/accounts/ada", #"{"owner":"Ada"}"#)
    #expect(try await bank.get("/v1/accounts/ada").status == 404)
    #expect(try await bank.get("/v1/accounts/ada?consistency=strong").json["balance"] == 0)
    #expect(try await bank.get("/v1/accounts/ada", after: opened.token).problem == "not-caught-up")
    try await bank.resume()
    #expect(try await bank.get("/v1/accounts/ada", after: opened.token).json["balance"] == 0)
  }
}
// end snippet
