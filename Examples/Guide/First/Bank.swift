import Counterflow

enum AccountEvent: DomainEvent, Codable {
  case opened(owner: String)
  case deposited(amount: Int64, balance: Int64, reference: String)
  case withdrawn(amount: Int64, balance: Int64, reference: String)

  enum CodingKeys: String, CodingKey {
    case opened = "AccountOpened", deposited = "MoneyDeposited", withdrawn = "MoneyWithdrawn"
  }
}

struct Account: Aggregate {
  static let category = "account"
  var owner: String?, balance: Int64 = 0

  mutating func apply(_ event: AccountEvent) {
    switch event {
    case .opened(let owner): self.owner = owner
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

struct OpenAccount: StreamCommand, Codable {
  var owner: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    guard (1...200).contains(owner.unicodeScalars.count) else {
      throw .invalidRequest([.init(pointer: "/owner", detail: "must have 1 to 200 characters")])
    }
    guard let other = account.owner else { return [.opened(owner: owner)] }
    guard other == owner else { throw Rejection("taken", title: "This id is taken", detail: "Choose another one.") }
    return []
  }
}

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

struct Balances: ReadModel {
  struct Row: Codable { var id: String, owner: String, balance: Int64 }

  let name = "balances", version = 1
  let sources = [
    RowSource<Row>(Account.self) { event, row in
      switch event.event {
      case .opened(let owner): row = Row(id: event.id, owner: owner, balance: 0)
      case .deposited(_, let balance, _), .withdrawn(_, let balance, _): row?.balance = balance
      }
    }
  ]
  let columns = [Column<Row>("owner", \.owner), .search("words", \.owner)]
  let indexes = [Index("owner", "key")]
}

@main
struct Bank: Application {
  let commands: [CommandRoute] = [
    .put("/v1/accounts/{id}", OpenAccount.self), .post("/v1/accounts/{id}/deposits", Deposit.self),
    .post("/v1/accounts/{id}/withdrawals", Withdraw.self),
  ]
  let readModels: [any ReadModel] = [Balances()]
  let queries: [QueryRoute] = [
    .row("/v1/accounts/{id}", Balances()),
    .list("/v1/accounts", Balances(), order: .ascending("owner"), search: "words"),
  ]
}
