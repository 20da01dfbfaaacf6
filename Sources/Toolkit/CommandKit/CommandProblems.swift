internal import CommandProcessing
package import EventSourcing
package import HTTPKit
internal import HTTPTypes
internal import JSON

/// Returns the HTTP problem for a command's error; nil for any other error.
@Sendable package func commandProblem(_ error: any Error) -> Problem? {
  switch error {
  case let error as Rejection: Problem(error)
  case let error as CommandError: failure(error)
  default: nil
  }
}

extension Problem {
  package init(_ rejection: Rejection) {
    self.init(
      .init(code: rejection.status), rejection.code, title: rejection.title, detail: rejection.detail,
      errors: rejection.errors)
  }
}

/// The problem's name if it is unknown whether the command's events are stored.
let outcomeUnknown = "outcome-unknown"

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
      .conflict, "version-conflict", title: "The stream was changed by others",
      detail: "\(stream) was changed at every attempt; nothing was stored. Try again.",
      extensions: [.init("currentVersion", .integer(current.rawValue))])
  case .preconditionFailed(let stream, let current):
    return Problem(
      .preconditionFailed, "precondition-failed", title: "The version does not match",
      detail: current > .none
        ? "\(stream) is at version \(current), but If-Match names another version. Read it again, then decide."
        : "\(stream) is not there, while If-Match asks that it be; make it first.",
      extensions: [.init("currentVersion", .integer(current.rawValue))])
  case .keyReused(let key):
    return Problem(
      .unprocessableContent, "idempotency-key-reused", title: "The key was used for another request",
      detail: "Idempotency-Key \(key) belongs to another request; choose a new key for this one.")
  case .historyChanged: return .historyChanged
  case .refused:
    return Problem(
      .unprocessableContent, "value-refused", title: "A value was rejected",
      detail: "The database rejects one of the values; nothing was stored. The service's log names it.")
  case .unreadable:
    return Problem(
      .internalServerError, "unreadable-history", title: "The history cannot be read",
      detail: "An earlier event is unknown to this build of the service, or is archived; its log says which.")
  case .defect: return .internalError
  }
}
