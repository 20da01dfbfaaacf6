public import Failures

/// What went wrong, and what is known about the statement's effect.
public struct PostgresError: ClassifiedError, Sendable, CustomStringConvertible {
  /// The closed set of reasons.
  public enum Code: Sendable, Equatable {
    /// No connection could be made: nothing was sent.
    case connectionFailed
    /// The connection was lost. Whether a statement in flight took effect is unknown.
    case connectionLost
    /// The server refused the statement; it had no effect.
    case server(SQLState)
    /// The time allowed had passed. The statement was cancelled, or else the connection was dropped.
    case timeout
    /// The calling task was cancelled, and the statement with it.
    case cancelled
    /// The pool's queue was full or the wait for a connection took too long: nothing was sent.
    case poolExhausted
    /// The connection or the pool is closed: nothing was sent.
    case closed
    /// A value in the answer is not of the type that was asked for.
    case decoding
    /// The call does not fit the protocol's state: a bug in the caller.
    case misuse
  }

  public let code: Code
  public let message: String
  /// What the server says besides. It may hold a whole row: not part of the description, which goes to logs.
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

  /// For `connectionLost` and `timeout` the work may have been done all the same.
  public var failureKind: FailureKind {
    switch code {
    // A pool closes, and tasks are cancelled, when the process ends: the work waits for the next one.
    case .connectionFailed, .connectionLost, .timeout, .poolExhausted, .cancelled, .closed: .retry
    case .server(let state): state.failureKind
    case .decoding, .misuse: .programmingError
    }
  }

  /// True when a commit in flight may or may not have taken effect.
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
