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

  public init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    channel = source.channel
  }
}
