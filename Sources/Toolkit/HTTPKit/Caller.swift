internal import HTTPTypes

/// A right that a token can grant. An application can define more.
public struct Scope: RawRepresentable, Sendable, Hashable {
  public let rawValue: String
  public init(rawValue: String) { self.rawValue = rawValue }
  /// Creates a scope with this name.
  public init(_ name: String) { rawValue = name }

  /// The right to send commands.
  public static let commandsWrite = Scope("commands:write")
  /// The right to send queries.
  public static let queriesRead = Scope("queries:read")
  /// The right to operate the system.
  public static let admin = Scope("admin")
  /// The scopes that every application has.
  public static let common = [commandsWrite, queriesRead, admin]
}

/// The sender of a request.
public struct Caller: Sendable, Hashable {
  /// The token's subject; nil if authentication is off, so that every caller may do everything.
  public let subject: String?
  /// The rights of the caller; nil for all rights.
  public let scopes: Set<Scope>?

  /// The caller of a process with `AUTH=off`: no name, all rights.
  public static let anybody = Caller(subject: nil, scopes: nil)

  package init(subject: String?, scopes: Set<Scope>?) { (self.subject, self.scopes) = (subject, scopes) }

  /// Whether the caller has a right.
  public func has(_ scope: Scope) -> Bool { scopes?.contains(scope) ?? true }

  /// Checks that the caller has a right.
  /// - Throws: a `Problem` with status 403 if the caller does not have the scope.
  public func require(_ scope: Scope) throws(Problem) {
    guard !has(scope) else { return }
    throw Problem(
      .forbidden, "insufficient-scope", title: "Insufficient scope",
      detail: "Get a token with the scope \(scope.rawValue).",
      headers: [.wwwAuthenticate: #"Bearer error="insufficient_scope", scope="\#(scope.rawValue)""#])
  }
}
