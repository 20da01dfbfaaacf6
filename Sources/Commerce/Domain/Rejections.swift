public import EventSourcing

// The business rules that a command can break.
extension Rejection {
  public static func productExists(_ sku: SKU) -> Rejection {
    exists("product", sku.rawValue, "/sku", "choose another sku")
  }

  public static func customerExists(_ id: String) -> Rejection {
    exists("customer", id, "/customerId", "choose another customerId, or leave it out")
  }

  public static func orderExists(_ id: String) -> Rejection {
    exists("order", id, "/orderId", "choose another orderId, or leave it out")
  }

  public static func returnExists(_ id: String) -> Rejection {
    exists("return", id, "/returnId", "choose another returnId, or leave it out")
  }

  public static func productNotFound(_ sku: SKU) -> Rejection {
    notFound("The product \(sku) is not there.")
  }

  public static func customerNotFound(_ id: String) -> Rejection {
    notFound("The customer \(id) is not there.")
  }

  public static func orderNotFound(_ id: String) -> Rejection {
    notFound("The order \(id) is not there.")
  }

  /// The personal data is erased for ever.
  public static func customerIsErased(_ id: String) -> Rejection {
    Rejection(
      "customer-erased", title: "The customer's personal data is erased",
      detail: "The personal data of \(id) was erased for ever; register the person under another customerId.")
  }

  public static func orderIsCancelled(_ id: String) -> Rejection {
    Rejection(
      "order-cancelled", title: "The order is cancelled", detail: "\(id) is cancelled; a cancelled order cannot change."
    )
  }

  public static func orderNotPaid(_ id: String) -> Rejection {
    Rejection(
      "order-not-paid", title: "The order is not paid", detail: "Pay \(id) before it is shipped.")
  }

  public static func orderNotShipped(_ id: String) -> Rejection {
    Rejection(
      "order-not-shipped", title: "The order is not shipped",
      detail: "\(id) is not shipped, so it can be neither delivered nor returned; cancel it instead.")
  }

  public static func orderIsShipped(_ id: String) -> Rejection {
    Rejection(
      "order-shipped", title: "The order is shipped",
      detail: "\(id) is on its way and cannot be cancelled; record a return instead.")
  }

  /// The payment differs from the order's total. Both amounts are in minor units.
  public static func amountDiffers(_ id: String, total: Int64, amount: Int64) -> Rejection {
    Rejection(
      "amount-differs", status: 422, title: "The amount is not the order's total",
      detail: "Pay \(total) minor units for \(id), and not \(amount).",
      errors: [.init(pointer: "/amount", detail: "must be \(total), and is \(amount)")])
  }

  /// The data that was read for the command had changed when the command was decided. The client can try again.
  public static func changedMeanwhile(_ id: String) -> Rejection {
    Rejection(
      "changed-meanwhile", title: "The stream was changed by others",
      detail: "\(id) was changed at every attempt; nothing was stored. Try again.")
  }

  /// The order that a return names does not exist.
  public static func returnedOrderUnknown(_ id: String) -> Rejection {
    Rejection(
      "order-unknown", status: 422, title: "The order is not known",
      detail: "There is no order \(id); correct orderId, or leave it out and give prices.",
      errors: [.init(pointer: "/orderId", detail: "there is no order \(id)")])
  }

  /// The customer who asks for a notice does not exist.
  public static func waitingCustomerUnknown(_ id: String) -> Rejection {
    Rejection(
      "customer-unknown", status: 422, title: "The customer is not known",
      detail: "There is no customer \(id); correct customerId, or register the customer.",
      errors: [.init(pointer: "/customerId", detail: "there is no customer \(id)")])
  }

  public static func productIsAvailable(_ sku: SKU) -> Rejection {
    Rejection("product-available", title: "The product is available", detail: "\(sku) is available now: order it.")
  }

  public static func waitlistIsFull(_ sku: SKU) -> Rejection {
    Rejection(
      "waitlist-full", title: "The waiting list is full",
      detail: "\(Waitlist.capacity) customers wait for \(sku); ask again later.")
  }

  /// Some lines name a product that is unknown or no longer on sale.
  public static func productsNotOnSale(_ lines: [UnsaleableLine]) -> Rejection {
    Rejection(
      "product-not-on-sale", status: 422, title: "A product is not on sale",
      detail: "Remove these lines or change their sku; the order was not placed.", errors: unsaleable(lines))
  }

  /// Some lines of a credit note name an unknown product.
  public static func productsUnknown(_ lines: [UnsaleableLine]) -> Rejection {
    Rejection(
      "product-unknown", status: 422, title: "A product is not known",
      detail: "Remove these lines or change their sku; nothing was recorded.", errors: unsaleable(lines))
  }

  /// Some lines need more stock than is available.
  public static func stockLacking(_ shortages: [Shortage]) -> Rejection {
    Rejection(
      "stock-lacking", status: 422, title: "Not enough stock",
      detail: "Order fewer of these, or wait for new stock; nothing was reserved.",
      errors: shortages.map {
        .init(
          pointer: "/lines/\($0.index)/quantity",
          detail: "\($0.sku) lacks \($0.ordered - $0.available): \($0.ordered) are ordered, \($0.available) available")
      })
  }

  /// A return has more items than the order has left to return.
  public static func returnExceedsOrder(order: String, _ shortages: [Shortage]) -> Rejection {
    Rejection(
      "return-exceeds-order", status: 422, title: "More is returned than was ordered",
      detail: "These lines return more of \(order) than can be returned; nothing was recorded.",
      errors: shortages.map {
        .init(
          pointer: "/lines/\($0.index)/quantity",
          detail: "\($0.ordered) of \($0.sku), and \($0.available) can still be returned")
      })
  }

  public static func stockNotTracked(_ sku: SKU) -> Rejection {
    Rejection(
      "stock-not-tracked", title: "The product's stock is not tracked",
      detail: "\(sku) was registered with tracksStock false: it has no stock to change.")
  }

  /// An adjustment would leave less stock than is reserved for orders.
  public static func stockBelowReserved(_ sku: SKU, onHand: Int64, reserved: Int64) -> Rejection {
    Rejection(
      "stock-below-reserved", status: 422, title: "The stock would not cover the reservations",
      detail:
        "Of \(onHand) \(sku) on hand \(reserved) are reserved for orders; take away \(onHand - reserved) at most.",
      errors: [.init(pointer: "/quantity", detail: "must be \(reserved - onHand) or more")])
  }

  /// The stock would not fit in 64 bits.
  public static func stockOverflows(_ sku: SKU) -> Rejection {
    Rejection(
      "stock-overflows", status: 422, title: "The stock is too large",
      detail: "The stock of \(sku) would exceed \(Int64.max).")
  }

  /// The total is above `Bounds.total`.
  public static var totalOverflows: Rejection {
    Rejection(
      "total-overflows", status: 422, title: "The total is too large",
      detail: "The total exceeds \(Bounds.total.upperBound) minor units; take less at a time.",
      errors: [.init(pointer: "/lines", detail: "the sum of quantity times unitPrice is too large")])
  }
}

/// A line whose product cannot be sold. `index` counts from 0.
public struct UnsaleableLine: Sendable, Hashable {
  public enum Reason: Sendable, Hashable { case unknown, discontinued }

  public let index: Int
  public let sku: SKU
  public let reason: Reason

  public init(index: Int, sku: SKU, reason: Reason) {
    self.index = index
    self.sku = sku
    self.reason = reason
  }
}

/// A line that asks for more than there is. `index` counts from 0. For stock, `ordered` is the sum of all lines with
/// the SKU, and `index` is the first of them.
public struct Shortage: Sendable, Hashable {
  public let index: Int
  public let sku: SKU
  public let ordered: Int64
  public let available: Int64

  public init(index: Int, sku: SKU, ordered: Int64, available: Int64) {
    self.index = index
    self.sku = sku
    self.ordered = ordered
    self.available = available
  }
}

private func exists(_ what: String, _ id: String, _ pointer: String, _ remedy: String) -> Rejection {
  Rejection(
    "\(what)-exists", title: "The \(what) exists", detail: "The \(what) \(id) is there already; \(remedy).",
    errors: [.init(pointer: pointer, detail: "the \(what) \(id) is there already")])
}

private func unsaleable(_ lines: [UnsaleableLine]) -> [Rejection.FieldError] {
  lines.map { line in
    let reason = line.reason == .unknown ? "there is no product \(line.sku)" : "\(line.sku) is discontinued"
    return .init(pointer: "/lines/\(line.index)/sku", detail: reason)
  }
}
