public import Hummingbird
package import NIOCore

/// The state that travels with one request through the routes.
public struct ServiceContext: RequestContext {
  public var coreContext: CoreRequestContextStorage
  /// The sender of the request; `Admission` sets it before the route runs.
  public package(set) var caller = Caller.anybody
  /// Maps a route's name of a path parameter to the router's name, if the two differ.
  package var parameterNames: [String: String] = [:]
  package let channel: any Channel
  /// Counts one use of a scope, and throws a `Problem` if it is one too many; `Admission` sets it.
  package var countUse: @Sendable (Scope, Caller) throws(Problem) -> Void = { _, _ throws(Problem) in }

  public init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    channel = source.channel
  }

  /// Uses a right of the caller.
  /// - Throws: a `Problem` with status 403 if the caller does not have the scope, or 429 if it is used more often than
  ///   `RATE_LIMIT_PER_SCOPE` allows.
  public func use(_ scope: Scope) throws(Problem) {
    try caller.require(scope)
    try countUse(scope, caller)
  }

  /// Uses a right if the caller has it.
  /// - Returns: whether the caller has it.
  /// - Throws: a `Problem` with status 429 if it is used more often than `RATE_LIMIT_PER_SCOPE` allows.
  public func useIfGranted(_ scope: Scope) throws(Problem) -> Bool {
    guard caller.has(scope) else { return false }
    try countUse(scope, caller)
    return true
  }
}
