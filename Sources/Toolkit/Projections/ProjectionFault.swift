internal import EventSourcing
public import Failures

/// What a projection's own code throws of an event or of the row that it belongs to. That code is pure: whatever it
/// throws, the event is at fault, unless it says that this build does not know the event.
public struct ProjectionFault: ClassifiedError, CustomStringConvertible {
  public let underlying: any Error

  public var failureKind: FailureKind {
    guard let error = underlying as? EventDecodingError else { return .refused }
    return error.failureKind
  }

  public var description: String { "\(underlying)" }

  /// Runs a projection's own code.
  static func blaming<Result>(_ body: () throws -> Result) throws(ProjectionFault) -> Result {
    do { return try body() } catch { throw ProjectionFault(underlying: error) }
  }
}
