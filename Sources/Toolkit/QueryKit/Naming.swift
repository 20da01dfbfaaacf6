internal import EventSourcing
internal import Foundation
internal import HTTPKit
internal import Hummingbird

/// How paths name the streams of an aggregate, where ids follow a rule of their own.
public struct Naming: Sendable {
  private let id: @Sendable (String) -> String?
  private let missing: @Sendable (String) -> String

  /// Creates a rule.
  /// - Parameters:
  ///   - missing: returns the detail of the 404 problem, from the text in the path.
  ///   - id: returns the id in its normal form; nil if the text is none.
  public init(
    missing: @escaping @Sendable (String) -> String, id: @escaping @Sendable (String) -> String?
  ) {
    (self.missing, self.id) = (missing, id)
  }

  /// Returns the stream that a text names, and the detail of the problem if it does not exist.
  /// - Throws: a `Problem` (404) if the text is no id.
  func stream<State: Aggregate>(_ text: String, of _: State.Type) throws(Problem) -> (StreamID, missing: String) {
    let missing = missing(text)
    guard let id = id(text), StreamID.isValid(category: State.category, id: id) else { throw .notFound(missing) }
    return (State.stream(id), missing)
  }
}

extension ServiceContext {
  /// Returns the stream that the path names, and the detail of the problem if it does not exist.
  /// - Parameter naming: nil if every valid id of a stream is one.
  /// - Throws: a `Problem` (404) if the text is no id.
  func stream<State: Aggregate>(
    _ parameter: String, of _: State.Type, _ naming: Naming?
  ) throws -> (StreamID, missing: String) {
    if let naming { return try naming.stream(try pathParameter(parameter), of: State.self) }
    let id = try streamID(parameter, of: State.self)
    return (State.stream(id), "There is no \(State.category) \(id).")
  }
}
