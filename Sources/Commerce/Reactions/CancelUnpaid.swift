public import Commerce
public import EventSourcing
public import Reactions

/// Cancels an order that is not paid within a time, and releases its stock.
public struct CancelUnpaid: Reaction {
  public let name = "cancel-unpaid"
  private let deadline: Duration?

  /// - Parameter deadline: how long an order may stay unpaid; nil for ever. Orders placed meanwhile are never cancelled.
  public init(after deadline: Duration?) { self.deadline = deadline }

  public var triggers: [Trigger] {
    [
      Trigger(Order.self) { [deadline] event, todo in
        guard let deadline, case .placed(let order) = event.event else { return }
        todo.schedule(CancelOverdue(order), .at(event.recordedAt.advanced(by: deadline)))
      }
    ]
  }

  public let schedules = [ScheduledType(CancelOverdue.self)]
}

/// Cancels an order that is still unpaid. Does nothing if it has been paid or cancelled.
public struct CancelOverdue: Command, Codable, Hashable {
  public static let reason = "paymentOverdue"

  public let orderID: String
  /// The SKUs of the order's lines.
  public let skus: Set<SKU>

  public init(_ order: OrderPlaced) {
    orderID = order.orderID
    skus = Set(order.lines.map(\.sku))
  }

  private var cancelling: CancelOrder { CancelOrder(orderID: orderID, reason: Self.reason, skus: skus) }
  public var streams: [AggregateReference] { cancelling.streams }

  public func decide(_ decision: inout Decision) throws(Rejection) {
    guard decision.state(Order.self, orderID).status == .placed else { return }
    try cancelling.decide(&decision)
  }
}
