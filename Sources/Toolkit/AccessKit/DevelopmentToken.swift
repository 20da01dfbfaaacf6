internal import FoundationEssentials
package import HTTPKit
internal import JWTKit
internal import Machine
package import SettingsKit

/// Returns a token that `TokenVerifier` accepts, signed with the secret in `AUTH_KEY`.
/// - Throws: `SettingError` if `AUTH_KEY` is not a secret.
package func developmentToken(
  _ settings: Settings, subject: String, scopes: Set<Scope>, lifetime: Duration
) async throws -> String {
  guard let key = try settings[AccessSettings.key], !key.hasPrefix("-----BEGIN"),
    key.utf8.count >= TokenKeys.shortestSecret
  else {
    throw SettingError(
      AccessSettings.key, "must be a secret of \(TokenKeys.shortestSecret) bytes or more to make tokens with")
  }
  let now = Machine.date
  let claims = DevelopmentClaims(
    iss: try settings[AccessSettings.issuer], aud: try settings[AccessSettings.audience], sub: subject,
    scope: scopes.map(\.rawValue).sorted().joined(separator: " "), iat: now,
    exp: now.addingTimeInterval(lifetime / .seconds(1)))
  let keys = JWTKeyCollection()
  await keys.add(hmac: HMACKey(stringLiteral: key), digestAlgorithm: .sha256)
  return try await keys.sign(claims)
}

private struct DevelopmentClaims: JWTPayload {
  let iss: String
  let aud: String
  let sub: String
  let scope: String
  let iat: Date
  let exp: Date

  func verify(using key: some JWTAlgorithm) throws {}
}
