internal import HTTPTypes

/// A right that a token may give.
public enum Scope: String, Sendable, CaseIterable {
  case commandsWrite = "commands:write"
  case queriesRead = "queries:read"
  /// Prices and times other than the store's own.
  case ordersOverride = "orders:override"
  /// Erasing a person, which nothing undoes.
  case personalDataErase = "personal-data:erase"
  case admin
}

/// Who sends a request.
public struct Caller: Sendable, Hashable {
  /// The token's subject; nil where authentication is off, and everybody may do everything.
  public let subject: String?
  public let scopes: Set<Scope>

  public static let anybody = Caller(subject: nil, scopes: Set(Scope.allCases))

  /// - Throws: a `Problem`, 403, where the right is not the caller's.
  public func require(_ scope: Scope) throws(Problem) {
    guard !scopes.contains(scope) else { return }
    throw Problem(
      .forbidden, "insufficient-scope", title: "The token does not allow this",
      detail: "Get a token with the scope \(scope.rawValue).",
      headers: [.wwwAuthenticate: #"Bearer error="insufficient_scope", scope="\#(scope.rawValue)""#])
  }
}
