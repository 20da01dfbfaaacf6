internal import HTTPTypes

/// A right that a token may give. An application adds its own.
public struct Scope: RawRepresentable, Sendable, Hashable {
  public let rawValue: String
  public init(rawValue: String) { self.rawValue = rawValue }
  public init(_ name: String) { rawValue = name }

  public static let commandsWrite = Scope("commands:write")
  public static let queriesRead = Scope("queries:read")
  /// Running the system.
  public static let admin = Scope("admin")
  /// Those of every application.
  public static let common = [commandsWrite, queriesRead, admin]
}

/// Who sends a request.
public struct Caller: Sendable, Hashable {
  /// The token's subject; nil where authentication is off, and everybody may do everything.
  public let subject: String?
  /// nil for all that there are.
  public let scopes: Set<Scope>?

  public static let anybody = Caller(subject: nil, scopes: nil)

  /// - Throws: a `Problem`, 403, where the right is not the caller's.
  public func require(_ scope: Scope) throws(Problem) {
    guard let scopes, !scopes.contains(scope) else { return }
    throw Problem(
      .forbidden, "insufficient-scope", title: "The token does not allow this",
      detail: "Get a token with the scope \(scope.rawValue).",
      headers: [.wwwAuthenticate: #"Bearer error="insufficient_scope", scope="\#(scope.rawValue)""#])
  }
}
