/// What an error means for the work that it interrupted. The set is closed: whoever decides what happens to somebody's
/// events or commands switches over it exhaustively (decision 16).
public enum FailureKind: Sendable, Hashable, CaseIterable {
  /// A server, or the way to it, is at fault, or the work was cancelled: the same work may succeed later.
  case retry
  /// What the work is about is at fault: an event, a value, a request. The same work fails again; other work does not.
  case refused
  /// The store's history is not the one that the work is of. Nothing may be written until a person has said what happened.
  case historyChanged
  /// The program, its schema or its settings are at fault, or nobody has classified the error. Nobody knows what the
  /// error says of the work: it stops where it is, and a person looks at it.
  case programmingError

  /// Whether it lasts until a person does something about it.
  public var needsAPerson: Bool {
    switch self {
    case .retry: false
    case .refused, .historyChanged, .programmingError: true
    }
  }

  /// - Parameter error: a `ClassifiedError`, or the cancellation of a task; anything else is a programming error.
  public init(_ error: any Error) {
    if let error = error as? any ClassifiedError {
      self = error.failureKind
    } else {
      self = error is CancellationError ? .retry : .programmingError
    }
  }
}

/// An error that says itself what it means for the work that it interrupted.
public protocol ClassifiedError: Error {
  var failureKind: FailureKind { get }
}
