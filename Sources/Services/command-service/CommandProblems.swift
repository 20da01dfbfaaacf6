import CommandProcessing
import Commerce
import CommerceAPI
import EventSourcing
import HTTPTypes
import JSON
import ServiceKit

/// What a failed command means over HTTP; nil for an error that is not of commands.
@Sendable func commandProblem(_ error: any Error) -> Problem? {
  switch error {
  case let error as InvalidRequest: invalidRequest(error)
  case let error as CommerceRejection: rejection(error)
  case let error as CommandError: failure(error)
  default: nil
  }
}

private func invalidRequest(_ error: InvalidRequest) -> Problem {
  let first = error.fields.first.map { "\($0.pointer.isEmpty ? "the body" : $0.pointer) \($0.detail)" } ?? ""
  let more = error.fields.count > 1 ? "; and \(error.fields.count - 1) more" : ""
  return Problem(
    .unprocessableContent, "invalid-request", title: "The request is not valid",
    detail: "Change this: \(first)\(more).",
    errors: error.fields.map { Problem.FieldError(pointer: $0.pointer, detail: $0.detail) })
}

/// Of a command that is to be tried again with what it needs read anew; see `CommandRoutes.again`.
let changedMeanwhile = "changed-meanwhile"
/// Of a command whose events may be stored or not.
let outcomeUnknown = "outcome-unknown"

private func rejection(_ rejection: CommerceRejection) -> Problem {
  switch rejection {
  case .productExists(let sku):
    return exists("product", sku.rawValue, "/sku", "choose another sku")
  case .customerExists(let id):
    return exists("customer", id, "/customerId", "choose another customerId, or leave it out")
  case .orderExists(let id):
    return exists("order", id, "/orderId", "choose another orderId, or leave it out")
  case .returnExists(let id):
    return exists("return", id, "/returnId", "choose another returnId, or leave it out")
  case .productNotFound(let sku): return .notFound("The product \(sku) is not there.")
  case .customerNotFound(let id): return .notFound("The customer \(id) is not there.")
  case .orderNotFound(let id): return .notFound("The order \(id) is not there.")
  case .customerIsErased(let id):
    return Problem(
      .conflict, "customer-erased", title: "The customer's personal data is erased",
      detail: "The personal data of \(id) was erased for ever; register the person under another customerId.")
  case .orderIsCancelled(let id):
    return Problem(
      .conflict, "order-cancelled", title: "The order is cancelled", detail: "\(id) is cancelled, and stays so.")
  case .orderNotPaid(let id):
    return Problem(
      .conflict, "order-not-paid", title: "The order is not paid", detail: "Pay \(id) before it is shipped.")
  case .orderNotShipped(let id):
    return Problem(
      .conflict, "order-not-shipped", title: "The order is not shipped",
      detail: "\(id) was not shipped, so that nothing of it can be delivered or come back; cancel it instead.")
  case .orderIsShipped(let id):
    return Problem(
      .conflict, "order-shipped", title: "The order is shipped",
      detail: "\(id) is on its way and cannot be cancelled; record a return instead.")
  case .amountDiffers(let id, let total, let amount):
    return Problem(
      .unprocessableContent, "amount-differs", title: "The amount is not the order's total",
      detail: "Pay \(total) minor units for \(id), and not \(amount).",
      errors: [.init(pointer: "/amount", detail: "must be \(total), and is \(amount)")])
  case .changedMeanwhile(let id):
    return Problem(
      .conflict, changedMeanwhile, title: "Others changed the same thing",
      detail: "\(id) was changed while the command was under way, again and again; nothing was stored. Try again.")
  case .returnedOrderUnknown(let id):
    return Problem(
      .unprocessableContent, "order-unknown", title: "The order is not known",
      detail: "There is no order \(id); correct orderId, or leave it out and give prices.",
      errors: [.init(pointer: "/orderId", detail: "there is no order \(id)")])
  case .productsNotOnSale(let lines):
    return Problem(
      .unprocessableContent, "product-not-on-sale", title: "A product is not on sale",
      detail: "Take these lines out or change their sku; the order was not placed.", errors: unsaleable(lines))
  case .productsUnknown(let lines):
    return Problem(
      .unprocessableContent, "product-unknown", title: "A product is not known",
      detail: "Take these lines out or change their sku; nothing was recorded.", errors: unsaleable(lines))
  case .stockLacking(let shortages):
    return Problem(
      .unprocessableContent, "stock-lacking", title: "There is not enough stock",
      detail: "Order less of these, or wait for more; nothing was reserved.",
      errors: shortages.map {
        .init(
          pointer: "/lines/\($0.index)/quantity",
          detail: "\($0.sku) lacks \($0.ordered - $0.available): \($0.ordered) are ordered, \($0.available) available")
      })
  case .returnExceedsOrder(let order, let shortages):
    return Problem(
      .unprocessableContent, "return-exceeds-order", title: "More comes back than was ordered",
      detail: "Of \(order) less can come back than these lines say; nothing was recorded.",
      errors: shortages.map {
        .init(
          pointer: "/lines/\($0.index)/quantity",
          detail: "\($0.ordered) of \($0.sku), and \($0.available) can still come back")
      })
  case .stockNotTracked(let sku):
    return Problem(
      .conflict, "stock-not-tracked", title: "The product's stock is not tracked",
      detail: "\(sku) was registered with tracksStock false: it has no stock to change.")
  case .stockBelowReserved(let sku, let onHand, let reserved):
    return Problem(
      .unprocessableContent, "stock-below-reserved", title: "The stock would not cover what is reserved",
      detail:
        "Of \(onHand) \(sku) on hand \(reserved) are reserved for orders; take away \(onHand - reserved) at most.",
      errors: [.init(pointer: "/quantity", detail: "must be \(reserved - onHand) or more")])
  case .stockOverflows(let sku):
    return Problem(
      .unprocessableContent, "stock-overflows", title: "The stock is too large",
      detail: "The stock of \(sku) would exceed \(Int64.max).")
  case .totalOverflows:
    return Problem(
      .unprocessableContent, "total-overflows", title: "The total is too large",
      detail: "The total exceeds \(Bounds.total.upperBound) minor units; take less at a time.",
      errors: [.init(pointer: "/lines", detail: "the sum of quantity times unitPrice is too large")])
  }
}

private func exists(_ what: String, _ id: String, _ pointer: String, _ remedy: String) -> Problem {
  Problem(
    .conflict, "\(what)-exists", title: "The \(what) exists", detail: "The \(what) \(id) is there already; \(remedy).",
    errors: [.init(pointer: pointer, detail: "the \(what) \(id) is there already")])
}

private func unsaleable(_ lines: [CommerceRejection.UnsaleableLine]) -> [Problem.FieldError] {
  lines.map { line in
    let reason = line.reason == .unknown ? "there is no product \(line.sku)" : "\(line.sku) is discontinued"
    return .init(pointer: "/lines/\(line.index)/sku", detail: reason)
  }
}

private func failure(_ error: CommandError) -> Problem {
  switch error {
  case .overloaded:
    return .unavailable("Too many commands are waiting; nothing was stored. Try again in a moment.", isLogged: false)
  case .stopping:
    return .unavailable("The service is shutting down; nothing was stored. Try again.", isLogged: false)
  case .unavailable:
    return .unavailable("The store cannot be reached; nothing was stored. Try again in a moment.", retryAfter: 2)
  case .outcomeUnknown:
    return Problem(
      .gatewayTimeout, outcomeUnknown, title: "The outcome is unknown",
      detail:
        "The connection to the store was lost in the middle: the command may have taken effect. Repeat it with the same Idempotency-Key to learn what came of it.",
      headers: [.retryAfter: "2"])
  case .conflict(let stream, let current):
    return Problem(
      .conflict, "version-conflict", title: "Others changed the same thing",
      detail: "\(stream) was changed at every attempt; nothing was stored. Try again.",
      extensions: [.init("currentVersion", .integer(current.rawValue))])
  case .preconditionFailed(let stream, let current):
    return Problem(
      .preconditionFailed, "precondition-failed", title: "The version is another",
      detail: current > .none
        ? "\(stream) is at version \(current), which If-Match does not name; read it again, and decide anew."
        : "\(stream) is not there, while If-Match asks that it be; make it first.",
      extensions: [.init("currentVersion", .integer(current.rawValue))])
  case .keyReused(let key):
    return Problem(
      .unprocessableContent, "idempotency-key-reused", title: "The key was used for another request",
      detail: "Idempotency-Key \(key) belongs to another request; choose a new key for this one.")
  case .historyChanged: return .historyChanged
  case .refused:
    return Problem(
      .unprocessableContent, "value-refused", title: "A value is refused",
      detail: "The store does not take one of the values; nothing was stored. The log of the service names it.")
  case .unreadable:
    return Problem(
      .internalServerError, "unreadable-history", title: "The history cannot be read",
      detail: "An earlier event is unknown to this build of the service; its log names the position.")
  case .defect: return .internalError
  }
}
