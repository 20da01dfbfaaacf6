public import Commerce
internal import EventSourcing
public import Reactions

/// Notifies the customers on a product's waiting list when the product is available again, `NotifyWaitlist.most` in one append.
public struct BackInStock: ProcessManager {
  public let name = "back-in-stock"

  public init() {}

  public var triggers: [ProcessTrigger<Waitlist>] {
    [
      ProcessTrigger(Product.self, key: { Self.replenished($0.event)?.rawValue }) { event, waitlist, todo in
        Self.notify(waitlist, of: Self.replenished(event.event), &todo)
      },
      // Each append leads to the next one, until nobody waits or nothing is left.
      ProcessTrigger(Waitlist.self, key: { Self.notified($0.event)?.rawValue }) { event, waitlist, todo in
        Self.notify(waitlist, of: Self.notified(event.event), &todo)
      },
    ]
  }

  private static func notify(_ waitlist: Waitlist, of sku: SKU?, _ todo: inout Consequences) {
    guard let sku, !waitlist.waiting.isEmpty else { return }
    todo.run(NotifyWaitlist(sku, waitlist))
  }

  /// The product of an event after which it may be available though it was not before.
  private static func replenished(_ event: ProductEvent) -> SKU? {
    switch event {
    case .reinstated(let sku), .stockReceived(let sku, _), .stockReturned(let sku, _, _): sku
    case .stockAdjusted(let sku, let quantity, _): quantity > 0 ? sku : nil
    case .stockReleased(let moved): moved.sku
    case .registered, .detailsChanged, .priceChanged, .discontinued, .stockReserved, .stockShipped: nil
    }
  }

  private static func notified(_ event: WaitlistEvent) -> SKU? {
    switch event {
    case .notified(let sku, _): sku
    case .requested: nil
    }
  }
}
