import Counterflow
import CounterflowTesting
import Testing

@testable import grown_bank

@Suite("The guide's bank, grown")
struct GrownBankTests {
  // snippet: statement
  @Test("A statement has a row for each movement, and sums for each month")
  func statement() throws {
    let rows = try given(
      Account.self, id: "ada", .deposited(amount: 500, balance: 500, reference: "salary"),
      .withdrawn(amount: 120, balance: 380, reference: "rent")
    ).rows(of: Statement())
    #expect(rows.keys == ["ada/1", "ada/2"])
    #expect(rows["ada/2"]?.amount == -120)
    // The test's events are of January 2026: two entries, 500 paid in, 120 paid out.
    #expect(rows.totals("statement_months") == [["ada", "2026-01-01"]: [2, 500, 120]])
  }
  // end snippet

  // snippet: upcasting
  @Test("An account that was opened before there were branches belongs to the main branch")
  func upcasting() throws {
    let stored = RecordedEvent(
      position: Position(1), stream: Account.stream("ada"), version: Version(1), hash: 0, id: .v7(),
      type: "AccountOpened", schemaVersion: 1, data: Array(#"{"owner":"Ada"}"#.utf8), metadata: Array("{}".utf8),
      recordedAt: .now)
    guard case .opened("Ada", "main") = try AccountEvent(stored) else {
      Issue.record("it is read as something else")
      return
    }
  }
  // end snippet

  // snippet: bills
  @Test("A bill expires after a minute unless it is paid, and then costs a fee")
  func bills() throws {
    let sent = try given(Account.self, id: "eve", .opened(owner: "Eve", branch: "main"))
      .and(Account.self, id: "eve", .deposited(amount: 50, balance: 50, reference: "gift"))
      .and(Bill.self, id: "b1", .sent(account: "eve", amount: 20))
    let due = try #require(sent.events.last).recordedAt.advanced(by: .seconds(60))
    try sent.on(BillDeadlines()).thenScheduled(ExpireBill(), to: "b1", .at(due))
    try sent.when(ExpireBill(), id: "b1").then(Bill.self, id: "b1", .expired(account: "eve"))
      .after.on(BillDeadlines())
      .then(Account.self, id: "eve", .withdrawn(amount: 5, balance: 45, reference: "late fee"))
    try sent.when(PayBill(bill: "b1", account: "eve"))
      .then(Account.self, id: "eve", .withdrawn(amount: 20, balance: 30, reference: "bill b1"))
      .then(Bill.self, id: "b1", .paid)
      .after.when(ExpireBill(), id: "b1").thenNothing()
  }
  // end snippet

  @Test("A bill is sent once, and not paid from another account, without money or too late; a fee may be lost")
  func refusing() throws {
    let sent = try given(Account.self, id: "eve", .opened(owner: "Eve", branch: "main"))
      .and(Bill.self, id: "b1", .sent(account: "eve", amount: 20))
    try sent.when(SendBill(account: "eve", amount: 9), id: "b1").thenRejected("taken")
    try sent.when(PayBill(bill: "b1", account: "ada")).thenRejected("not-found")
    try sent.when(PayBill(bill: "b1", account: "eve")).thenRejected("overdrawn")
    let expired = try sent.and(Bill.self, id: "b1", .expired(account: "eve"))
    try expired.when(PayBill(bill: "b1", account: "eve")).thenRejected("settled")
    try expired.on(BillDeadlines()).thenNothing()
  }
}
