internal import EventSourcing
public import Failures

/// An error that a projection's own code throws for an event or its row. That code is pure. So the event is at fault,
/// unless the error says that this build does not know the event.
public struct ProjectionFault: ClassifiedError, CustomStringConvertible {
  /// The error that the code threw.
  public let underlying: any Error

  /// `refused`, so that only the event's stream waits; for an event that could not be decoded, the kind of that error.
  public var failureKind: FailureKind {
    guard let error = underlying as? EventDecodingError else { return .refused }
    return error.failureKind
  }

  public var description: String { "\(underlying)" }

  /// Runs a projection's own code, and wraps its errors.
  static func blaming<Result>(_ body: () throws -> Result) throws(ProjectionFault) -> Result {
    do { return try body() } catch { throw ProjectionFault(underlying: error) }
  }
}
