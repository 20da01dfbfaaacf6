public import Failures

/// An error, and the known effect of the statement.
public struct PostgresError: ClassifiedError, Sendable, CustomStringConvertible {
  /// The closed set of reasons.
  public enum Code: Sendable, Equatable {
    /// No connection could be made: nothing was sent.
    case connectionFailed
    /// The connection was lost. Whether a statement in flight took effect is unknown.
    case connectionLost
    /// The server refused the statement; it had no effect.
    case server(SQLState)
    /// The time limit has passed. The statement was cancelled, or the connection was dropped.
    case timeout
    /// The calling task was cancelled, and so was the statement.
    case cancelled
    /// The pool's queue was full, or the wait for a connection took too long: nothing was sent.
    case poolExhausted
    /// The connection or the pool is closed: nothing was sent.
    case closed
    /// A value in the result does not have the requested type.
    case decoding
    /// The call does not fit the state of the protocol: a bug in the caller.
    case misuse
  }

  public let code: Code
  public let message: String
  /// The server's details. They may contain a whole row, so the description, which goes to logs, omits them.
  public var detail: String?
  /// The table constraint that a class 23 error names.
  public var constraint: String?

  public init(_ code: Code, _ message: String, detail: String? = nil, constraint: String? = nil) {
    self.code = code
    self.message = message
    self.detail = detail
    self.constraint = constraint
  }

  public var sqlState: SQLState? {
    if case .server(let state) = code { state } else { nil }
  }

  /// After `connectionLost` and `timeout` the work may have been done nevertheless.
  public var failureKind: FailureKind {
    switch code {
    // The pool closes and tasks are cancelled when the process ends: the next process does the work.
    case .connectionFailed, .connectionLost, .timeout, .poolExhausted, .cancelled, .closed: .retry
    case .server(let state): state.failureKind
    case .decoding, .misuse: .programmingError
    }
  }

  /// Whether it is unknown if a commit in flight took effect.
  public var outcomeIsUnknown: Bool {
    switch code {
    case .connectionLost, .timeout, .cancelled: true
    case .server(let state): state.category == "08" || state == .adminShutdown || state == .crashShutdown
    case .connectionFailed, .poolExhausted, .closed, .decoding, .misuse: false
    }
  }

  public var description: String {
    let reason =
      switch code {
      case .server(let state): "SQLSTATE \(state)"
      default: "\(code)"
      }
    return "\(reason): \(message)"
  }
}
