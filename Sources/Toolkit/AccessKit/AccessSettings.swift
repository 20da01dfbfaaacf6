internal import AsyncHTTPClient
internal import Foundation
package import HTTPKit
package import Logging
package import SettingsKit

/// Settings of authentication and rate limits.
package enum AccessSettings {
  /// How a process knows its callers.
  package enum Mode: String, Sendable, CaseIterable {
    /// By a signed token (RFC 7519) in each request.
    case jwt
    /// Not at all: everybody who reaches the port may do everything.
    case off
  }

  /// `AUTH`: whether requests need a token.
  package static let mode = Setting(
    "AUTH", default: "jwt", allowed: "jwt or off",
    help: "Whether requests need a token. With `off`, the process starts on loopback only."
  ) { Mode(rawValue: $0) }

  /// For a private network in which another system authenticates the clients.
  package static let isOpenToAnyone = Setting(
    "AUTH_OFF_LETS_ANYONE_WHO_REACHES_THIS_PORT_IN", default: "no", allowed: "no or yes",
    help:
      "`yes` allows AUTH=off on other addresses than loopback. Then everyone who reaches the port may do everything."
  ) { ["no": false, "yes": true][$0] }

  /// `AUTH_KEY`: the key that signs or verifies tokens.
  package static let key = Setting.optional(
    "AUTH_KEY", allowed: "32 bytes or more, or a public key in PEM",
    help:
      "The key of tokens: a secret (HS256), or a public key of RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA) in PEM.",
    isSecret: true
  )

  /// `AUTH_JWKS`: several keys instead of one.
  package static let keySet = Setting.optional(
    "AUTH_JWKS", allowed: "a JSON Web Key Set",
    help: "Several keys, each with a kid, instead of AUTH_KEY: types oct, RSA, EC with P-256, OKP with Ed25519.",
    isSecret: true
  )

  /// `AUTH_JWKS_URL`: where an identity provider publishes its keys.
  package static let keySetURL = Setting.optional(
    "AUTH_JWKS_URL", allowed: "a URL of a JSON Web Key Set",
    help: "The http or https URL of the identity provider's key set, instead of AUTH_KEY.")

  /// `AUTH_JWKS_INTERVAL`: how often those keys are fetched.
  package static let keySetInterval = Setting.seconds(
    "AUTH_JWKS_INTERVAL", default: 300, in: 10...86_400,
    help: "How often the key set is fetched, in seconds. It is also fetched when a token names an unknown key.")

  /// `AUTH_ISSUER`: the issuer that tokens must have.
  package static let issuer = Setting(
    "AUTH_ISSUER", default: "counterflow", allowed: "a text", help: "The iss that tokens must have."
  ) { $0 }

  /// `AUTH_AUDIENCE`: the audience that tokens must contain.
  package static let audience = Setting(
    "AUTH_AUDIENCE", default: "counterflow", allowed: "a text",
    help: "The aud that tokens must contain."
  ) { $0 }

  /// `AUTH_LEEWAY`: the clock difference that the times in tokens tolerate.
  package static let leeway = Setting.seconds(
    "AUTH_LEEWAY", default: 30, in: 0...600,
    help: "The clock difference, in seconds, that exp and nbf tolerate.")

  /// `RATE_LIMIT_PER_SUBJECT`: requests per second for the subject of a token.
  package static let subjectRate = Setting.integer(
    "RATE_LIMIT_PER_SUBJECT", default: 0, in: 0...1_000_000,
    help:
      "Requests a second of one token's subject, to each process; twice as many at once after a rest; 0 for no limit.")

  /// `RATE_LIMIT_PER_ADDRESS`: requests per second for an address.
  package static let addressRate = Setting.integer(
    "RATE_LIMIT_PER_ADDRESS", default: 0, in: 0...1_000_000,
    help:
      "The requests per second that each process accepts from one address, with bursts of twice as many; 0 for no limit."
  )

  /// `RATE_LIMIT_PER_SCOPE`: requests per second that use a scope, for the subject of a token.
  package static let scopeRates = Setting(
    "RATE_LIMIT_PER_SCOPE", default: "none",
    allowed: "none, or SCOPE=RATE for each scope, with commas between; the rate is a whole number from 1 to 1000000",
    help:
      "Requests a second of one token's subject that use a scope, such as personal-data:read=5, to each process; twice as many at once after a rest."
  ) { text -> [Scope: Int]? in
    guard text != "none" else { return [:] }
    var rates: [Scope: Int] = [:]
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let sides = part.split(separator: "=", omittingEmptySubsequences: false).map {
        $0.trimmingCharacters(in: .whitespaces)
      }
      guard sides.count == 2, !sides[0].isEmpty, let rate = Int(sides[1]), (1...1_000_000).contains(rate),
        rates.updateValue(rate, forKey: Scope(sides[0])) == nil
      else { return nil }
    }
    return rates
  }

  /// `TRUSTED_PROXIES`: how many proxies add an address to `X-Forwarded-For`.
  package static let proxies = Setting.integer(
    "TRUSTED_PROXIES", default: 0, in: 0...10,
    help: "The number of your proxies in front of this process. Each adds an address to X-Forwarded-For.")

  /// All settings of authentication and rate limits.
  package static let all = [
    mode.description, isOpenToAnyone.description, key.description, keySet.description,
    keySetURL.description, keySetInterval.description, issuer.description,
    audience.description, leeway.description, subjectRate.description, addressRate.description, scopeRates.description,
    proxies.description,
  ]
}

extension Access {
  /// Reads the settings of authentication and rate limits.
  /// - Throws: `SettingError` for an invalid setting, or if authentication is off and other machines can connect.
  package init(_ settings: Settings, logger: Logger) async throws(SettingError) {
    perSubject =
      try settings[AccessSettings.subjectRate] > 0 ? RateLimiter(rate: settings[AccessSettings.subjectRate]) : nil
    perAddress =
      try settings[AccessSettings.addressRate] > 0 ? RateLimiter(rate: settings[AccessSettings.addressRate]) : nil
    perScope = try settings[AccessSettings.scopeRates].mapValues { RateLimiter(rate: $0) }
    proxies = try settings[AccessSettings.proxies]
    guard try settings[AccessSettings.mode] == .jwt else {
      (verifier, services) = (nil, [])
      let host = try settings[HTTPSettings.host]
      guard try settings[AccessSettings.isOpenToAnyone] || Self.isLoopback(host) else {
        throw SettingError(
          AccessSettings.mode,
          "is 'off' while HTTP_HOST is \(host), where others could come in: set AUTH=jwt, or HTTP_HOST=127.0.0.1")
      }
      logger.warning("authentication is off: whoever reaches \(host) may do everything")
      return
    }
    let (key, set) = (try settings[AccessSettings.key], try settings[AccessSettings.keySet])
    let url = try settings[AccessSettings.keySetURL]
    guard [key, set, url].count(where: { $0 != nil }) == 1 else {
      throw SettingError(
        AccessSettings.key,
        "or AUTH_JWKS or AUTH_JWKS_URL must be set, one of them, while AUTH is jwt (AUTH=off needs none, on loopback)")
    }
    let keyring: Keyring
    if let url {
      keyring = Keyring()
      services = [try Self.fetching(url, into: keyring, settings, logger)]
    } else {
      do throws(TokenKeys.Unusable) {
        if let set {
          let (keys, left) = try await TokenKeys.set(set)
          for reason in left { logger.warning("a key of AUTH_JWKS is unusable", metadata: ["reason": "\(reason)"]) }
          keyring = Keyring(keys)
        } else {
          keyring = Keyring(try await TokenKeys.single(key ?? ""))
        }
      } catch {
        throw SettingError(set == nil ? AccessSettings.key : AccessSettings.keySet, "is not valid: \(error.reason)")
      }
      services = []
    }
    verifier = TokenVerifier(
      keyring, issuer: try settings[AccessSettings.issuer], audience: try settings[AccessSettings.audience],
      leeway: try settings[AccessSettings.leeway])
  }

  private static func fetching(
    _ url: String, into keyring: Keyring, _ settings: Settings, _ logger: Logger
  ) throws(SettingError) -> FetchedKeys {
    guard let parsed = URL(string: url), ["http", "https"].contains(parsed.scheme), parsed.host != nil,
      // The log shows the URL, so it must not contain credentials.
      parsed.user == nil, parsed.password == nil
    else {
      throw SettingError(
        AccessSettings.keySetURL, "must be a URL such as https://id.example.com/keys, without a user and a password")
    }
    var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
    if parsed.scheme == "https" { configuration.tlsConfiguration = try ClientTLS.configuration(settings) }
    return FetchedKeys(
      url, into: keyring, pace: .init(interval: try settings[AccessSettings.keySetInterval]), client: configuration,
      logger: logger)
  }

  static func isLoopback(_ host: String) -> Bool {
    if host == "localhost" || host == "::1" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }
}
