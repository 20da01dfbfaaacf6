package import EventSourcing
internal import Foundation
internal import Hummingbird

/// Returns the names in braces in a route's path.
package func pathParameters(of path: String) -> [String] {
  path.split(separator: "/").filter { $0.hasPrefix("{") && $0.hasSuffix("}") }.map { String($0.dropFirst().dropLast()) }
}

extension ServiceContext {
  /// Returns the id of an aggregate's stream, from the path.
  /// - Throws: a `Problem` with status 404 if the text is not a valid id.
  package func streamID<State: Aggregate>(_ parameter: String, of _: State.Type) throws -> String {
    let id = try pathParameter(parameter)
    guard StreamID.isValid(category: State.category, id: id) else {
      throw Problem.notFound("The path contains an invalid id.")
    }
    return id
  }
}
