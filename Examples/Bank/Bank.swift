import Counterflow

enum AccountEvent: DomainEvent, Codable {
  case opened(owner: String)
  case deposited(amount: Int64, balance: Int64, reference: String)
  case withdrawn(amount: Int64, balance: Int64, reference: String)
  case sent(amount: Int64, balance: Int64, reference: String, to: String)
  case received(amount: Int64, balance: Int64, reference: String, from: String)
  case dispatched(amount: Int64, balance: Int64, reference: String, to: String)
  case returned(amount: Int64, balance: Int64, reference: String, reason: String)
  case closed

  enum CodingKeys: String, CodingKey, CaseIterable {
    case opened = "AccountOpened", deposited = "MoneyDeposited", withdrawn = "MoneyWithdrawn"
    case sent = "MoneySent", received = "MoneyReceived", dispatched = "PaymentDispatched"
    case returned = "PaymentReturned", closed = "AccountClosed"
  }
}

extension AccountEvent {
  /// What the event does to the balance, and with whom; nil if it moves no money.
  var movement: (amount: Int64, balance: Int64, reference: String, other: String?)? {
    switch self {
    case .opened, .closed: nil
    case .deposited(let amount, let balance, let reference), .returned(let amount, let balance, let reference, _):
      (amount, balance, reference, nil)
    case .withdrawn(let amount, let balance, let reference): (-amount, balance, reference, nil)
    case .sent(let amount, let balance, let reference, let to),
      .dispatched(let amount, let balance, let reference, let to):
      (-amount, balance, reference, to)
    case .received(let amount, let balance, let reference, let from): (amount, balance, reference, from)
    }
  }
}

struct Account: Aggregate {
  static let category = "account"
  var isOpen = false, balance: Int64 = 0

  mutating func apply(_ event: AccountEvent) {
    if case .opened = event { isOpen = true }
    if case .closed = event { isOpen = false }
    balance = event.movement?.balance ?? balance
  }

  /// The largest amount and balance, in the currency's smallest unit.
  private static let most: Int64 = 1_000_000_000_000

  private func check(_ amount: Int64) throws(Rejection) {
    guard isOpen else { throw .notFound("There is no such account.") }
    guard (1...Self.most).contains(amount) else {
      throw .invalidRequest([.init(pointer: "/amount", detail: "must be from 1 to \(Self.most)")])
    }
  }

  /// Returns the balance plus an amount.
  func adding(_ amount: Int64) throws(Rejection) -> Int64 {
    try check(amount)
    guard amount <= Self.most - balance else {
      throw Rejection("too-much", title: "Too much money", detail: "Pay in at most \(Self.most - balance).")
    }
    return balance + amount
  }

  /// Returns the balance minus an amount.
  func taking(_ amount: Int64) throws(Rejection) -> Int64 {
    try check(amount)
    guard amount <= balance else {
      throw Rejection("overdrawn", title: "Too little money", detail: "Take at most \(balance).")
    }
    return balance - amount
  }
}

struct OpenAccount: StreamCommand, Codable {
  var owner: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    // The owner is indexed, and PostgreSQL limits the size of index entries.
    guard (1...200).contains(owner.unicodeScalars.count) else {
      throw .invalidRequest([.init(pointer: "/owner", detail: "must have 1 to 200 characters")])
    }
    return [.opened(owner: owner)]
  }
}

struct Deposit: StreamCommand, Codable {
  var amount: Int64, reference: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    [.deposited(amount: amount, balance: try account.adding(amount), reference: reference)]
  }
}

struct Withdraw: StreamCommand, Codable {
  var amount: Int64, reference: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    [.withdrawn(amount: amount, balance: try account.taking(amount), reference: reference)]
  }
}

/// Changes both accounts, or neither.
struct Transfer: Command, Codable {
  var from: String, to: String, amount: Int64, reference: String

  var streams: [AggregateReference] { [AggregateReference(Account.self, from), AggregateReference(Account.self, to)] }

  func decide(_ decision: inout Decision) throws(Rejection) {
    guard from != to else { throw .invalidRequest([.init(pointer: "/to", detail: "must be another account")]) }
    let left = try decision.state(Account.self, from).taking(amount)
    decision.emit(.sent(amount: amount, balance: left, reference: reference, to: to), to: Account.self, from)
    let grown = try decision.state(Account.self, to).adding(amount)
    decision.emit(.received(amount: amount, balance: grown, reference: reference, from: from), to: Account.self, to)
  }
}

/// Takes money from one account now. The reaction `Deliver` pays it into the other one.
struct Dispatch: StreamCommand, Codable {
  var amount: Int64, reference: String, to: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    guard AggregateReference(Account.self, to).isValid else { throw .invalidID }
    return [.dispatched(amount: amount, balance: try account.taking(amount), reference: reference, to: to)]
  }
}

struct Receive: StreamCommand {
  var amount: Int64, reference: String, from: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    [.received(amount: amount, balance: try account.adding(amount), reference: reference, from: from)]
  }
}

/// Takes money back, also into an account that has been closed meanwhile.
struct TakeBack: StreamCommand {
  var amount: Int64, reference: String, reason: String

  func decide(_ account: Account) -> [AccountEvent] {
    [.returned(amount: amount, balance: account.balance + amount, reference: reference, reason: reason)]
  }
}

struct CloseAccount: StreamCommand, Codable {
  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    guard account.balance == 0 else { throw Rejection("not-empty", title: "Not empty", detail: "Withdraw the rest.") }
    return account.isOpen ? [.closed] : []
  }
}

/// Pays dispatched money into the other account, or returns it if that account does not take it.
struct Deliver: Reaction {
  let name = "deliver"
  let triggers = [
    Trigger(Account.self) { event, todo in
      guard case .dispatched(let amount, _, let reference, let to) = event.event else { return }
      todo.run(
        Receive(amount: amount, reference: reference, from: event.id), to: to,
        otherwise: .run({ TakeBack(amount: amount, reference: reference, reason: $0.code) }, to: event.id))
    }
  ]
}

struct Balances: ReadModel {
  struct Row: Codable { var id: String, owner: String, balance: Int64 }

  let name = "balances", version = 1
  let sources = [
    RowSource<Row>(Account.self) { event, row in
      if case .opened(let owner) = event.event { row = Row(id: event.id, owner: owner, balance: 0) }
      if let movement = event.event.movement { row?.balance = movement.balance }
    }
  ]
  let columns = [Column<Row>("owner", \.owner)]
  let indexes = [Index("owner", "key")]
}

/// One row for each event that moved money.
struct Statement: ReadModel {
  struct Row: Codable {
    var account: String, number: Int64, at: Timestamp, amount: Int64, balance: Int64, reference: String, other: String?
  }

  let name = "statement", version = 1
  let sources = [
    RowSource<Row>(
      Account.self, keys: { event in event.event.movement == nil ? [] : ["\(event.id)/\(event.version)"] }
    ) { event, _, row in
      guard let movement = event.event.movement else { return }
      row = Row(
        account: event.id, number: event.version.rawValue, at: event.recordedAt, amount: movement.amount,
        balance: movement.balance, reference: movement.reference, other: movement.other)
    }
  ]
  let columns = [Column<Row>("account", \.account), Column("number", \.number)]
  let indexes = [Index("account", "number", "key")]
  let totals = [
    Totals<Row>(
      "statement_months", by: [.text("account", \.account), .month("month", \.at)],
      [
        .count("entries"), .sum("paid_in") { max($0.amount, 0) }, .sum("paid_out") { max(-$0.amount, 0) },
        .range("balance", \.balance),
      ])
  ]
}

@main
struct Bank: Application {
  let commands: [CommandRoute] = [
    .post("/v1/accounts", OpenAccount.self), .post("/v1/accounts/{id}/deposits", Deposit.self),
    .post("/v1/accounts/{id}/withdrawals", Withdraw.self), .post("/v1/accounts/{from}/transfers", Transfer.self),
    .post("/v1/accounts/{id}/payments", Dispatch.self), .delete("/v1/accounts/{id}", CloseAccount.self),
  ]
  let readModels: [any ReadModel] = [Balances(), Statement()]
  let reactions: [any Reacting] = [Deliver()]
  let queries: [QueryRoute] = [
    .row("/v1/accounts/{id}", Balances()),
    .list("/v1/accounts", Balances(), filters: ["owner"], order: .ascending("owner")),
    .list("/v1/accounts/{account}/statement", Statement(), order: .descending("number")),
    .totals("/v1/accounts/{account}/months", "statement_months", of: Statement()),
    .history("/v1/accounts/{id}/history", of: Account.self),
  ]
  let console = Console(
    .init(
      "Accounts", .init(list: "/v1/accounts", row: "/v1/accounts/{id}", history: "/v1/accounts/{id}/history"), id: "id",
      columns: ["\("owner")", "\(number: "balance")", "\("id")"]
    ).headed("\("owner"): \(number: "balance")").finding("Find an account", "An account's id"))
}
