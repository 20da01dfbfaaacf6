/// A command's refusal by a business rule. Nothing is stored.
public struct Rejection: Error, Sendable, Hashable, CustomStringConvertible {
  /// One mistake in a request, and where it is.
  public struct FieldError: Sendable, Hashable {
    /// A JSON pointer (RFC 6901) into the request's body; empty for the whole body.
    public let pointer: String
    /// What to change.
    public let detail: String

    /// Creates a mistake.
    /// - Parameters:
    ///   - pointer: A JSON pointer (RFC 6901) into the request's body; empty for the whole body.
    ///   - detail: What to change.
    public init(pointer: String, detail: String) {
      self.pointer = pointer
      self.detail = detail
    }
  }

  /// Stable, so that clients can switch on it: lower-case words with `-` between them, such as `account-closed`.
  public let code: String
  /// The HTTP status: 404 if something does not exist, 409 if its state does not allow the command, 422 if the request
  /// is wrong.
  public let status: Int
  /// The same for every rejection with this code.
  public let title: String
  /// What happened this time, and what to change.
  public let detail: String
  /// The mistakes in the request, each with its place. Empty if the rejection is not about the request's members.
  public let errors: [FieldError]

  /// Creates a rejection.
  /// - Parameters:
  ///   - code: Lower-case words with `-` between them. Do not change it: clients switch on it.
  ///   - status: The HTTP status.
  ///   - title: The same for every rejection with this code.
  ///   - detail: What happened this time, and what to change.
  ///   - errors: The mistakes in the request, each with its place.
  public init(_ code: String, status: Int = 409, title: String, detail: String, errors: [FieldError] = []) {
    self.code = code
    self.status = status
    self.title = title
    self.detail = detail
    self.errors = errors
  }

  public var description: String { "\(title): \(detail)" }

  /// The rejection of a command on something that does not exist: status 404, code `not-found`.
  /// - Parameter detail: What does not exist.
  public static func notFound(_ detail: String) -> Rejection {
    Rejection("not-found", status: 404, title: "Not found", detail: detail)
  }

  /// The rejection of a command that names an invalid id.
  public static let invalidID = Rejection(
    "invalid-id", status: 422, title: "An id is not valid",
    detail: "Ids have at least one character, no control characters, and are shorter than 250 bytes.")

  /// Returns a rejection that lists all mistakes in a request.
  public static func invalidRequest(_ errors: [FieldError]) -> Rejection {
    let first = errors.first.map { "\($0.pointer.isEmpty ? "the body" : $0.pointer) \($0.detail)" } ?? ""
    let more = errors.count > 1 ? "; and \(errors.count - 1) more" : ""
    return Rejection(
      "invalid-request", status: 422, title: "The request is not valid", detail: "Change this: \(first)\(more).",
      errors: errors)
  }
}
