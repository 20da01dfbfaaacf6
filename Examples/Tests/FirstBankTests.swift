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
