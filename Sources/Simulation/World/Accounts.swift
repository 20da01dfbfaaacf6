internal import EventSourcing
internal import PostgresEventStore
internal import Projections

/// What the world trades in: accounts, with money that moves between them.
///
/// Every event names the command that it follows from, so that an oracle can tell what took effect, and how often.
enum AccountEvent: DomainEvent, Codable {
  case opened
  case deposited(amount: Int64, balance: Int64, command: String)
  case sent(amount: Int64, balance: Int64, command: String)
  case received(amount: Int64, balance: Int64, command: String)
  /// Money is on its way; the reaction `Deliver` pays it in.
  case dispatched(amount: Int64, balance: Int64, command: String, to: String)
  case delivered(amount: Int64, balance: Int64, command: String)
  /// Money is held back for a time.
  case held(amount: Int64, balance: Int64, command: String, until: Int64)
  case released(amount: Int64, balance: Int64, command: String)
  /// For every fourth amount that was sent to the account.
  case rewarded(amount: Int64, balance: Int64, command: String)
  /// The name of the owner, sealed.
  case named(sealed: String, command: String)
  case erased(command: String)

  enum CodingKeys: String, CodingKey, CaseIterable {
    case opened = "Opened", deposited = "Deposited", sent = "Sent", received = "Received", dispatched = "Dispatched"
    case delivered = "Delivered", held = "Held", released = "Released", rewarded = "Rewarded"
    case named = "Named", erased = "PersonalDataErased"
  }

  /// What the event does to the balance; nil if it moves no money.
  var movement: (amount: Int64, balance: Int64, command: String)? {
    switch self {
    case .opened, .named, .erased: nil
    case .deposited(let amount, let balance, let command), .received(let amount, let balance, let command),
      .delivered(let amount, let balance, let command), .released(let amount, let balance, let command),
      .rewarded(let amount, let balance, let command):
      (amount, balance, command)
    case .sent(let amount, let balance, let command), .dispatched(let amount, let balance, let command, _),
      .held(let amount, let balance, let command, _):
      (-amount, balance, command)
    }
  }

  /// The command that it follows from; nil for an opening.
  var command: String? {
    switch self {
    case .named(_, let command), .erased(let command): command
    default: movement?.command
    }
  }
}

struct Account: SnapshottingAggregate {
  static let category = "account"
  static let snapshotPolicy = SnapshotPolicy(every: 20, schemaVersion: 1)

  var isOpen = false, balance: Int64 = 0, isErased = false

  mutating func apply(_ event: AccountEvent) {
    switch event {
    case .opened: isOpen = true
    case .erased: isErased = true
    default: break
    }
    balance = event.movement?.balance ?? balance
  }

  /// Returns the balance minus an amount.
  func taking(_ amount: Int64) throws(Rejection) -> Int64 {
    guard isOpen else { throw .notFound("There is no such account.") }
    guard amount <= balance else { throw Rejection("overdrawn", title: "Too little money", detail: "Take less.") }
    return balance - amount
  }

  /// Returns the balance plus an amount.
  func adding(_ amount: Int64) throws(Rejection) -> Int64 {
    guard isOpen else { throw .notFound("There is no such account.") }
    return balance + amount
  }
}

struct Open: StreamCommand {
  func decide(_ account: Account) -> [AccountEvent] { account.isOpen ? [] : [.opened] }
}

struct Deposit: StreamCommand {
  let amount: Int64, command: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    [.deposited(amount: amount, balance: try account.adding(amount), command: command)]
  }
}

/// Names the owner.
struct Name: StreamCommand {
  /// nil if there is no key: the owner has been erased.
  let sealed: String?
  let command: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    guard let sealed, !account.isErased else { throw .erased }
    return [.named(sealed: sealed, command: command)]
  }
}

/// Erases what is known of the owner.
struct Erase: StreamCommand {
  let command: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    guard !account.isErased else { throw .erased }
    return [.erased(command: command)]
  }
}

extension Rejection {
  fileprivate static var erased: Rejection {
    Rejection("erased", title: "The owner is erased", detail: "Open another account.")
  }
}

/// Changes both accounts, or neither.
struct Transfer: Command {
  let from: String, to: String, amount: Int64, command: String

  var streams: [AggregateReference] { [AggregateReference(Account.self, from), AggregateReference(Account.self, to)] }

  func decide(_ decision: inout Decision) throws(Rejection) {
    let left = try decision.state(Account.self, from).taking(amount)
    decision.emit(.sent(amount: amount, balance: left, command: command), to: Account.self, from)
    let grown = try decision.state(Account.self, to).adding(amount)
    decision.emit(.received(amount: amount, balance: grown, command: command), to: Account.self, to)
  }
}

struct Dispatch: StreamCommand {
  let amount: Int64, command: String, to: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    [.dispatched(amount: amount, balance: try account.taking(amount), command: command, to: to)]
  }
}

struct Pay: StreamCommand {
  let amount: Int64, command: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    [.delivered(amount: amount, balance: try account.adding(amount), command: command)]
  }
}

/// Holds money back, and schedules its release.
struct Hold: Command {
  let account: String, amount: Int64, command: String, seconds: Int64

  var streams: [AggregateReference] { [AggregateReference(Account.self, account)] }

  func decide(_ decision: inout Decision) throws(Rejection) {
    let left = try decision.state(Account.self, account).taking(amount)
    decision.emit(
      .held(amount: amount, balance: left, command: command, until: seconds), to: Account.self, account)
    decision.schedule(Release(amount: amount, command: command), to: account, .after(.seconds(seconds)))
  }
}

struct Release: StreamCommand, Codable {
  let amount: Int64, command: String

  func decide(_ account: Account) throws(Rejection) -> [AccountEvent] {
    [.released(amount: amount, balance: try account.adding(amount), command: command)]
  }
}

struct Balances: ReadModel {
  struct Row: Codable { var id: String, owner: String?, balance: Int64, changes: Int64 }

  let version: Int
  let name = "balances"
  private let source: PersonalKeys?
  private var keys: [String: PersonalKey] = [:]
  /// Events that this version refuses, by the command that they follow from.
  private let poisoned: @Sendable (String) -> Bool

  init(version: Int, keys: PersonalKeys, poisoned: @escaping @Sendable (String) -> Bool) {
    (self.version, source, self.poisoned) = (version, keys, poisoned)
  }

  /// One that opens names with these keys.
  init(opening keys: [String: PersonalKey]) {
    (version, source, self.keys, poisoned) = (1, nil, keys, { _ in false })
  }

  func prepared(for events: [RecordedEvent], until end: Position?) async throws -> Self {
    guard let source else { return self }
    var prepared = self
    prepared.keys = try await source.keys(of: Set(events.filter { $0.type == "Named" }.map { String($0.stream.id) }))
    return prepared
  }

  var sources: [RowSource<Row>] {
    [
      RowSource<Row>(Account.self) { [keys, poisoned] event, row in
        if case .opened = event.event { row = Row(id: event.id, owner: nil, balance: 0, changes: 0) }
        guard let command = event.event.command else { return }
        if poisoned(command) { throw Poisoned(command: command) }
        row?.balance += event.event.movement?.amount ?? 0
        row?.changes += 1
        switch event.event {
        case .named(let sealed, _):
          guard let key = keys[event.id] else { return }
          row?.owner = String(decoding: try key.open(sealed, of: event.id), as: UTF8.self)
        case .erased: row?.owner = nil
        default: break
        }
      }
    ]
  }
  let totals = [
    Totals<Row>("balance_sums", by: [.text("kind") { _ in "all" }], [.count("accounts"), .sum("money", \.balance)])
  ]
}

/// A read model or a reaction refuses an event.
struct Poisoned: Error, CustomStringConvertible {
  let command: String
  var description: String { "the event of \(command) is poisoned" }
}

/// One row for each event that moved money.
struct Statement: ReadModel {
  struct Row: Codable { var account: String, number: Int64, amount: Int64, balance: Int64, command: String }

  let version: Int
  let name = "statement"
  let sources = [
    RowSource<Row>(
      Account.self, keys: { event in event.event.movement == nil ? [] : ["\(event.id)/\(event.version)"] }
    ) { event, _, row in
      guard let movement = event.event.movement else { return }
      row = Row(
        account: event.id, number: event.version.rawValue, amount: movement.amount, balance: movement.balance,
        command: movement.command)
    }
  ]
}
