/// Why a command is not carried out: a rule of the domain's that it breaks, as a value. Nothing is stored.
public struct Rejection: Error, Sendable, Hashable, CustomStringConvertible {
  /// One thing that is wrong with a request, and where.
  public struct FieldError: Sendable, Hashable {
    /// A JSON pointer (RFC 6901) into the request's body; empty for the whole.
    public let pointer: String
    /// What to change.
    public let detail: String

    public init(pointer: String, detail: String) {
      self.pointer = pointer
      self.detail = detail
    }
  }

  /// Stable: callers may switch on it. Lower-case words with `-` between, such as `order-not-paid`.
  public let code: String
  /// As HTTP has it: 404 for what is not there, 409 for what its state does not allow, 422 for what is wrong with the request.
  public let status: Int
  /// The same for every rejection of this code.
  public let title: String
  /// What happened this time, and what to change.
  public let detail: String
  public let errors: [FieldError]

  public init(_ code: String, status: Int = 409, title: String, detail: String, errors: [FieldError] = []) {
    self.code = code
    self.status = status
    self.title = title
    self.detail = detail
    self.errors = errors
  }

  public var description: String { "\(title): \(detail)" }

  public static func notFound(_ detail: String) -> Rejection {
    Rejection("not-found", status: 404, title: "Not found", detail: detail)
  }

  /// One of the things that a command names has an id that cannot be one.
  public static let invalidID = Rejection(
    "invalid-id", status: 422, title: "An id is not valid",
    detail: "Ids have at least one character, no control characters, and are shorter than 250 bytes.")

  /// What is wrong with a request, all of it.
  public static func invalidRequest(_ errors: [FieldError]) -> Rejection {
    let first = errors.first.map { "\($0.pointer.isEmpty ? "the body" : $0.pointer) \($0.detail)" } ?? ""
    let more = errors.count > 1 ? "; and \(errors.count - 1) more" : ""
    return Rejection(
      "invalid-request", status: 422, title: "The request is not valid", detail: "Change this: \(first)\(more).",
      errors: errors)
  }
}
