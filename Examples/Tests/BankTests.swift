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
