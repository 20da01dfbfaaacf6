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

private func rejection(_ rejection: CommerceRejection) -> Problem {
  switch rejection {
  case .productExists(let sku):
    return Problem(
      .conflict, "product-exists", title: "The product exists",
      detail: "\(sku) is registered already; choose another sku.",
      errors: [.init(pointer: "/sku", detail: "\(sku) is registered already")])
  case .productNotFound(let sku): return .notFound("There is no product \(sku).")
  case .orderExists(let id):
    return Problem(
      .conflict, "order-exists", title: "The order exists",
      detail: "There is an order \(id) already; choose another orderId, or leave it out.",
      errors: [.init(pointer: "/orderId", detail: "there is an order \(id) already")])
  case .orderNotFound(let id): return .notFound("There is no order \(id).")
  case .productsNotOnSale(let lines):
    return Problem(
      .unprocessableContent, "product-not-on-sale", title: "A product is not on sale",
      detail: "Take these lines out or change their sku; the order was not placed.",
      errors: lines.map { line in
        let reason = line.reason == .unknown ? "there is no product \(line.sku)" : "\(line.sku) is discontinued"
        return Problem.FieldError(pointer: "/lines/\(line.index)/sku", detail: reason)
      })
  case .totalOverflows:
    return Problem(
      .unprocessableContent, "total-overflows", title: "The total is too large",
      detail: "The order's total exceeds \(Int64.max) minor units; order less at a time.",
      errors: [.init(pointer: "/lines", detail: "the sum of quantity times unitPrice is too large")])
  }
}

private func failure(_ error: CommandError) -> Problem {
  switch error {
  case .overloaded:
    return .unavailable("Too many commands are waiting; nothing was stored. Try again in a moment.")
  case .stopping: return .unavailable("The service is shutting down; nothing was stored. Try again.")
  case .unavailable:
    return .unavailable("The store cannot be reached; nothing was stored. Try again in a moment.", retryAfter: 2)
  case .outcomeUnknown:
    return Problem(
      .gatewayTimeout, "outcome-unknown", title: "The outcome is unknown",
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
      detail: "\(stream) is at version \(current), which If-Match does not name; read it again, and decide anew.",
      extensions: [.init("currentVersion", .integer(current.rawValue))])
  case .keyReused(let key):
    return Problem(
      .unprocessableContent, "idempotency-key-reused", title: "The key was used for another request",
      detail: "Idempotency-Key \(key) belongs to another request; choose a new key for this one.")
  case .historyChanged:
    return .unavailable(
      "The store is not the one it was; nothing was stored. The log of the service says what an operator has to do.",
      retryAfter: 30)
  case .refused:
    return Problem(
      .unprocessableContent, "value-refused", title: "A value is refused",
      detail: "The store does not take one of the values; nothing was stored. The log of the service names it.")
  case .unreadable:
    return Problem(
      .internalServerError, "unreadable-history", title: "The history cannot be read",
      detail: "An earlier event is unknown to this build of the service; its log names the position.")
  }
}
