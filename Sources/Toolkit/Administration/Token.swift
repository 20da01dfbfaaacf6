internal import AccessKit
internal import ArgumentParser
internal import HTTPKit
internal import SettingsKit

/// Makes a token for development.
struct Token: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Creates a token for development, signed with AUTH_KEY.",
    discussion: """
      Give AUTH_KEY (or AUTH_KEY_FILE), AUTH_ISSUER and AUTH_AUDIENCE the same values as for the services. AUTH_KEY is \
      then a secret (HS256). In production an identity provider creates the tokens, and the services have its public keys.

      Scopes: \(Administration.current.scopes.map(\.rawValue).joined(separator: ", ")).
      """)

  @Option(help: "The subject of the token.") var subject = "developer"
  @Option(parsing: .upToNextOption, help: "The scopes of the token; the default is all.") var scope = Administration
    .current.scopes
    .map(\.rawValue)
  @Option(help: "The lifetime in seconds.") var lifetime = 3600

  func validate() throws {
    guard (1...31_536_000).contains(lifetime) else { throw ValidationError("--lifetime takes 1 to 31536000 seconds") }
    guard (1...255).contains(subject.utf8.count) else { throw ValidationError("--subject takes 1 to 255 bytes") }
    for name in scope where !Administration.current.scopes.contains(Scope(name)) {
      throw ValidationError(
        "\(name) is not a scope; the scopes are: \(Administration.current.scopes.map(\.rawValue).joined(separator: ", "))"
      )
    }
  }

  func run() async throws {
    try await reportingSettings {
      print(
        try await developmentToken(
          Settings(), subject: subject, scopes: Set(scope.map { Scope($0) }),
          lifetime: .seconds(lifetime)))
    }
  }
}
