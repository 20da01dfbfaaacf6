import Counterflow

enum AccountEvent: DomainEvent, Codable {
  // snippet: opened
  case opened(owner: String, branch: String)
  // end snippet
  case deposited(amount: Int64, balance: Int64, reference: String)
  case withdrawn(amount: Int64, balance: Int64, reference: String)

  enum CodingKeys: String, CodingKey {
    case opened = "AccountOpened", deposited = "MoneyDeposited", withdrawn = "MoneyWithdrawn"
  }

  // snippet: upcasters
  static let upcasters = [
    Upcaster("AccountOpened", from: 1) { data in .object((data.members ?? []) + [.init("branch", "main")]) }
  ]
  // end snippet
}

struct Account: Aggregate {
  static let category = "account"
  var owner: String?, balance: Int64 = 0

  mutating func apply(_ event: AccountEvent) {
    switch event {
    case .opened(let owner, _): self.owner = owner
    case .deposited(_, let balance, _), .withdrawn(_, let balance, _): self.balance = balance
    }
  }

  func check(_ amount: Int64) throws(Rejection) {
    guard owner != nil else { throw .notFound("There is no such account.") }
    guard (1...1_000_000).contains(amount) else {
      throw .invalidRequest([.init(pointer: "/amount", detail: "must be from 1 to 1000000")])
    }
  }
}

// snippet: open-account
struct OpenAccount: StreamCommand, Codable {
  var owner: String, branch: String?

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    let branch = branch ?? "main"
    for (name, text) in [("owner", owner), ("branch", branch)] where !(1...200).contains(text.unicodeScalars.count) {
      throw .invalidRequest([.init(pointer: "/\(name)", detail: "must have 1 to 200 characters")])
    }
    guard let other = account.owner else { return [.opened(owner: owner, branch: branch)] }
    guard other == owner else { throw Rejection("taken", title: "This id is taken", detail: "Choose another one.") }
    return []
  }
}
// end snippet

struct Deposit: StreamCommand, Codable {
  var amount: Int64, reference: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    try account.check(amount)
    return [.deposited(amount: amount, balance: account.balance + amount, reference: reference)]
  }
}

struct Withdraw: StreamCommand, Codable {
  var amount: Int64, reference: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    try account.check(amount)
    guard amount <= account.balance else {
      throw Rejection("overdrawn", title: "Too little money", detail: "Withdraw at most \(account.balance).")
    }
    return [.withdrawn(amount: amount, balance: account.balance - amount, reference: reference)]
  }
}

// snippet: balances
struct Balances: ReadModel {
  struct Row: Codable { var id: String, owner: String, branch: String, balance: Int64 }

  let name = "balances", version = 2
  let sources = [
    RowSource<Row>(Account.self) { event, row in
      switch event.event {
      case .opened(let owner, let branch): row = Row(id: event.id, owner: owner, branch: branch, balance: 0)
      case .deposited(_, let balance, _), .withdrawn(_, let balance, _): row?.balance = balance
      }
    }
  ]
  let columns = [Column<Row>("owner", \.owner), Column("branch", \.branch), .search("words", \.owner)]
  let indexes = [Index("owner", "key"), Index("branch", "owner", "key")]
}
// end snippet

@main
struct Bank: Application {
  let commands: [CommandRoute] = [
    .put("/v1/accounts/{id}", OpenAccount.self), .post("/v1/accounts/{id}/deposits", Deposit.self),
    .post("/v1/accounts/{id}/withdrawals", Withdraw.self),
    // snippet: bill-commands
    .put("/v1/bills/{id}", SendBill.self), .post("/v1/accounts/{account}/payments/{bill}", PayBill.self),
    // end snippet
  ]
  let readModels: [any ReadModel] = [Balances(), Statement()]
  // snippet: reactions
  let reactions: [any Reacting] = [BillDeadlines()]
  // end snippet
  let queries: [QueryRoute] = [
    .row("/v1/accounts/{id}", Balances()),
    // snippet: accounts
    .list("/v1/accounts", Balances(), filters: ["branch"], order: .ascending("owner"), search: "words"),
    // end snippet
    // snippet: statement-queries
    .list("/v1/accounts/{account}/statement", Statement(), order: .descending("number"), search: "words"),
    .totals("/v1/accounts/{account}/months", "statement_months", of: Statement()),
    // end snippet
  ]
}
