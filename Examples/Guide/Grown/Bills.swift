// snippet: bill
import Counterflow

enum BillEvent: DomainEvent, Codable {
  case sent(account: String, amount: Int64)
  case paid
  case expired(account: String)

  enum CodingKeys: String, CodingKey { case sent = "BillSent", paid = "BillPaid", expired = "BillExpired" }
}

struct Bill: Aggregate {
  enum Status { case unpaid, paid, expired }
  static let category = "bill"
  var status: Status?, account = "", amount: Int64 = 0

  mutating func apply(_ event: BillEvent) {
    switch event {
    case .sent(let account, let amount): (status, self.account, self.amount) = (.unpaid, account, amount)
    case .paid: status = .paid
    case .expired: status = .expired
    }
  }
}
// end snippet

// snippet: commands
struct SendBill: StreamCommand, Codable {
  var account: String, amount: Int64

  func decide(_ bill: Bill) throws(Rejection) -> [BillEvent] {
    guard bill.status == nil else { throw Rejection("taken", title: "This id is taken", detail: "Choose another one.") }
    return [.sent(account: account, amount: amount)]
  }
}

struct PayBill: Command, Codable {
  var bill: String, account: String

  var streams: [AggregateReference] {
    [AggregateReference(Bill.self, bill), AggregateReference(Account.self, account)]
  }

  func decide(_ decision: inout Decision) throws(Rejection) {
    let state = decision.state(Bill.self, bill)
    guard state.account == account else { throw .notFound("There is no such bill.") }
    guard state.status == .unpaid else {
      throw Rejection("settled", title: "Nothing to pay", detail: "The bill was paid, or has expired.")
    }
    let payment = Withdraw(amount: state.amount, reference: "bill \(bill)")
    if let rejection = decision.attempt(Addressed(payment, to: account)) { throw rejection }
    decision.emit(.paid, to: Bill.self, bill)
  }
}
// end snippet

// snippet: deadline
struct ExpireBill: StreamCommand, Codable {
  func decide(_ bill: Bill) -> [BillEvent] { bill.status == .unpaid ? [.expired(account: bill.account)] : [] }
}
// end snippet

// snippet: reaction
struct BillDeadlines: Reaction {
  let name = "bill-deadlines"
  let schedules = [ScheduledType(ExpireBill.self)]
  let triggers = [
    Trigger(Bill.self) { event, todo in
      switch event.event {
      case .sent: todo.schedule(ExpireBill(), to: event.id, .at(event.recordedAt.advanced(by: .seconds(60))))
      case .expired(let account): todo.run(Withdraw(amount: 5, reference: "late fee"), to: account, otherwise: .ignore)
      case .paid: break
      }
    }
  ]
}
// end snippet
