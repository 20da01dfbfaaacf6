/// The meaning of an error for the work that it interrupted. The set is closed: code that decides about events or
/// commands switches over it exhaustively (decision 16).
public enum FailureKind: Sendable, Hashable, CaseIterable {
  /// A server or the way to it failed, or the work was cancelled: the same work may succeed later.
  case retry
  /// The input of the work is at fault: an event, a value, a request. The same work fails again; other work does not.
  case refused
  /// The store's history is not the one that the work belongs to. Nothing may be written until a person decides.
  case historyChanged
  /// The program, its schema or its settings are at fault, or the error is not classified. Its meaning for the work is
  /// unknown: the work stops, and a person must look at it.
  case programmingError

  /// Whether the failure lasts until a person acts.
  public var needsAPerson: Bool {
    switch self {
    case .retry: false
    case .refused, .historyChanged, .programmingError: true
    }
  }

  /// - Parameter error: a `ClassifiedError`, or the cancellation of a task; any other error is a programming error.
  public init(_ error: any Error) {
    if let error = error as? any ClassifiedError {
      self = error.failureKind
    } else {
      self = error is CancellationError ? .retry : .programmingError
    }
  }
}

/// An error that states its own `FailureKind`.
public protocol ClassifiedError: Error {
  var failureKind: FailureKind { get }
}
