import Counterflow

extension AccountEvent {
  /// nil if the event moves no money.
  fileprivate var movement: (amount: Int64, balance: Int64, reference: String)? {
    switch self {
    case .opened: nil
    case .deposited(let amount, let balance, let reference): (amount, balance, reference)
    case .withdrawn(let amount, let balance, let reference): (-amount, balance, reference)
    }
  }
}

struct Statement: ReadModel {
  struct Row: Codable {
    var account: String, number: Int64, at: Timestamp, amount: Int64, balance: Int64, reference: String
  }

  let name = "statement", version = 1
  let sources = [
    RowSource<Row>(
      Account.self, keys: { event in event.event.movement == nil ? [] : ["\(event.id)/\(event.version)"] }
    ) { event, _, row in
      row = event.event.movement.map { movement in
        Row(
          account: event.id, number: event.version.rawValue, at: event.recordedAt, amount: movement.amount,
          balance: movement.balance, reference: movement.reference)
      }
    }
  ]
  let columns = [Column<Row>("account", \.account), Column("number", \.number), .search("words", \.reference)]
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
