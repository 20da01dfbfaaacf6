internal import EventLoop
internal import FoundationEssentials
internal import HTTPKit
internal import JSON
internal import Machine
internal import Synchronization

/// The reason why a token is rejected, for its sender to read.
struct TokenRefusal: Error {
  let reason: String
}

/// Verifies JSON Web Tokens (RFC 7519), with the precautions of RFC 8725.
package struct TokenVerifier: Sendable {
  /// The maximum length of a token, in bytes.
  static let maximumLength = 8 * 1024
  /// 9999-12-31T23:59:59Z, in seconds since 1970. Libraries disagree about later times.
  private static let lastSecond = 253_402_300_799.0
  /// The maximum number of tokens to remember, so that each is verified only once.
  private static let memory = 10_000

  /// The content of a token whose signature is valid; times in seconds since 1970.
  private struct Verified {
    let caller: Caller
    let notBefore: Double
    let expires: Double
  }

  private let keyring: Keyring
  private let issuer: String
  private let audience: String
  /// The allowed difference between clocks, in seconds.
  private let leeway: Double
  private let known = Known()

  private final class Known: Sendable {
    /// Tokens that one revision of the keys verified.
    private let state = Mutex<(revision: Int, tokens: [String: Verified])>((0, [:]))

    func find(_ token: String, _ revision: Int) -> Verified? {
      state.withLock { $0.revision == revision ? $0.tokens[token] : nil }
    }

    func add(_ token: String, _ verified: Verified, _ revision: Int) {
      state.withLock { state in
        if state.revision < revision || state.tokens.count >= TokenVerifier.memory { state = (revision, [:]) }
        if state.revision == revision { state.tokens[token] = verified }
      }
    }
  }

  init(_ keyring: Keyring, issuer: String, audience: String, leeway: Duration) {
    self.keyring = keyring
    self.issuer = issuer
    self.audience = audience
    self.leeway = leeway / .seconds(1)
  }

  /// Whether there are keys; false until they have been fetched.
  var isReady: Bool { keyring.current != nil }

  /// Returns the caller that a valid token names.
  /// - Parameter now: seconds since 1970.
  func verify(_ token: String, now: Double = Machine.date.timeIntervalSince1970) async throws(TokenRefusal) -> Caller {
    guard let (keys, revision) = keyring.current else { throw TokenRefusal(reason: "there are no keys yet") }
    let verified: Verified
    if let found = known.find(token, revision) {
      verified = found
    } else {
      verified = try await read(token, keys)
      known.add(token, verified, revision)
    }
    guard now < verified.expires + leeway else { throw TokenRefusal(reason: "the token has expired") }
    guard now >= verified.notBefore - leeway else { throw TokenRefusal(reason: "the token is not valid yet") }
    return verified.caller
  }

  private func read(_ token: String, _ keys: TokenKeys) async throws(TokenRefusal) -> Verified {
    guard token.utf8.count <= Self.maximumLength else {
      throw TokenRefusal(reason: "the token has more than \(Self.maximumLength) bytes")
    }
    let parts = token.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 3, let header = Self.object(parts[0]), Base64URL.decode(parts[2]) != nil else {
      throw TokenRefusal(reason: "the token is not a JSON Web Token")
    }
    // crit lists extensions that the reader must understand; none is understood here.
    guard header["crit"] == nil else { throw TokenRefusal(reason: "the token's header has crit") }
    guard case .string(let algorithm)? = header["alg"] else { throw TokenRefusal(reason: "the token names no alg") }
    let id = header["kid"]?.string
    guard id != nil || header["kid"]?.isNull ?? true, keys.has(algorithm, id: id) else {
      keyring.isWanting.signal()
      throw TokenRefusal(reason: "the token's alg and kid name no key of ours")
    }
    guard let claims = Self.object(parts[1]) else { throw TokenRefusal(reason: "the token's claims are not JSON") }
    guard await keys.verifies(token, id: id) else {
      throw TokenRefusal(reason: "the token's signature does not hold")
    }
    return try read(claims)
  }

  private func read(_ claims: JSON) throws(TokenRefusal) -> Verified {
    guard claims["iss"]?.string == issuer else { throw TokenRefusal(reason: "the token has another issuer") }
    let audiences = claims["aud"]?.array?.compactMap(\.string) ?? [claims["aud"]?.string].compactMap { $0 }
    guard audiences.contains(audience) else { throw TokenRefusal(reason: "the token is for another audience") }
    guard let expires = claims["exp"].flatMap(Self.seconds) else { throw TokenRefusal(reason: "the token has no exp") }
    guard expires <= Self.lastSecond else { throw TokenRefusal(reason: "the token's exp is beyond the year 9999") }
    let notBefore: Double
    if let claim = claims["nbf"] {
      guard let seconds = Self.seconds(claim) else { throw TokenRefusal(reason: "the token's nbf is no time") }
      notBefore = seconds
    } else {
      notBefore = -.infinity
    }
    guard let subject = claims["sub"]?.string, (1...255).contains(subject.utf8.count),
      !subject.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F })
    else {
      throw TokenRefusal(reason: "the token's sub is missing, or not of 1 to 255 bytes without control characters")
    }
    // RFC 8693, section 4.2: names separated by spaces. Scopes of other systems do no harm: no route here requires
    // them.
    let scopes = (claims["scope"]?.string ?? "").split(separator: " ").map { Scope(String($0)) }
    return Verified(caller: Caller(subject: subject, scopes: Set(scopes)), notBefore: notBefore, expires: expires)
  }

  private static func object(_ part: Substring) -> JSON? {
    guard let bytes = Base64URL.decode(part) else { return nil }
    do throws(JSONError) {
      let json = try JSON(parsing: bytes)
      guard case .object = json else { return nil }
      return json
    } catch { return nil }
  }

  /// Reads a NumericDate, which may have a fraction.
  private static func seconds(_ claim: JSON) -> Double? {
    switch claim {
    case .integer(let seconds): Double(seconds)
    case .number(let seconds): seconds
    default: nil
    }
  }
}
