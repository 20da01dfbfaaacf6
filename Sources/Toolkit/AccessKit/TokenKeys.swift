internal import Foundation
internal import HTTPKit
internal import JSON
internal import JWTKit

/// Keys that verify tokens, each for one algorithm.
package struct TokenKeys: Sendable {
  /// The minimum length of a secret, in bytes (RFC 7518, section 3.2).
  static let shortestSecret = 32

  /// The reason why a key cannot be used, for an operator to read. It never contains the key.
  struct Unusable: Error {
    let reason: String
  }

  private let collection = JWTKeyCollection()
  /// The algorithm of each key, by the header's kid: HS256, RS256, ES256 or EdDSA. A key without a kid is the only key.
  private var algorithms: [String?: String] = [:]

  var count: Int { algorithms.count }

  /// Whether there is a key for tokens with this header. The key decides the algorithm: a token cannot choose how its
  /// key is used.
  /// - Parameter id: the header's kid; nil if it has none.
  func has(_ algorithm: String, id: String?) -> Bool {
    if let own = algorithms[nil] { return own == algorithm }
    return id == nil ? algorithms.values.contains(algorithm) : algorithms[id] == algorithm
  }

  /// Whether a key that `has` finds made the token's signature.
  func verifies(_ token: String, id: String?) async -> Bool {
    do {
      _ = try await collection.verify(token, as: AnyPayload.self, iteratingKeys: id == nil)
      return true
    } catch { return false }
  }

  /// Ignores the claims: `TokenVerifier` reads them.
  private struct AnyPayload: JWTPayload {
    func verify(using _: some JWTAlgorithm) {}
  }

  /// - Parameter text: a secret for HS256, or a public key in PEM for RS256, ES256 (P-256) or EdDSA (Ed25519).
  static func single(_ text: String) async throws(Unusable) -> TokenKeys {
    var keys = TokenKeys()
    // Do not take a public key or a key set for a secret: everybody may know it, and could then sign tokens.
    let first = text.first { !$0.isWhitespace }
    guard text.hasPrefix("-----BEGIN") || !(text.contains("-----BEGIN") || first == "{" || first == "[") else {
      throw Unusable(
        reason: "it is no secret, and no PEM that begins with -----BEGIN; a key set belongs into AUTH_JWKS")
    }
    guard text.hasPrefix("-----BEGIN") else {
      // DER begins with a sequence (0x30) and its length.
      let body = text.filter { !$0.isWhitespace }
      if let bytes = Data(base64Encoded: body), bytes.first == 0x30, bytes.count > 40, Int(bytes[1]) == bytes.count - 2
      {
        throw Unusable(reason: "it is a key in DER, without the lines -----BEGIN and -----END of PEM around it")
      }
      try await keys.add(Array(text.utf8), id: nil)
      return keys
    }
    if let key = try? ES256PublicKey(pem: text) {
      await keys.collection.add(ecdsa: key)
      keys.algorithms[nil] = "ES256"
    } else if let key = try? EdDSA.PublicKey(pem: text) {
      await keys.collection.add(eddsa: key)
      keys.algorithms[nil] = "EdDSA"
    } else if let key = try? Insecure.RSA.PublicKey(pem: text) {
      await keys.collection.add(rsa: key, digestAlgorithm: .sha256)
      keys.algorithms[nil] = "RS256"
    } else {
      throw Unusable(reason: "the PEM is not a public key of P-256, Ed25519, or RSA with 2048 bits or more")
    }
    return keys
  }

  /// Returns the keys of a set that can be used, and the reasons why the others cannot.
  /// - Parameters:
  ///   - text: a JSON Web Key Set (RFC 7517) with keys of the types oct, RSA, EC (P-256) and OKP (Ed25519).
  ///   - isPublic: whether everybody may read the set; secrets in it are then not used.
  /// - Throws: `Unusable` if no key can be used.
  static func set(_ text: String, isPublic: Bool = false) async throws(Unusable) -> (keys: TokenKeys, left: [String]) {
    let json: JSON
    do throws(JSONError) { json = try JSON(parsing: Array(text.utf8)) } catch {
      throw Unusable(reason: "it is not JSON: \(error)")
    }
    guard let members = json["keys"]?.array, !members.isEmpty else { throw Unusable(reason: "it has no keys") }
    var (keys, left) = (TokenKeys(), [String]())
    for (index, member) in members.enumerated() {
      do throws(Unusable) {
        let id = member["kid"]?.string
        guard members.count == 1 || id != nil, keys.algorithms[id] == nil else {
          throw Unusable(reason: "several keys need a kid each, and no two the same")
        }
        guard member["use"] == nil || member["use"] == "sig" else { throw Unusable(reason: "it is not for signatures") }
        try await keys.add(member, id: id, isPublic: isPublic)
      } catch { left.append("key \(index): \(error.reason)") }
    }
    guard keys.count > 0 else { throw Unusable(reason: left.joined(separator: "; ")) }
    return (keys, left)
  }

  private mutating func add(_ secret: [UInt8], id: String?) async throws(Unusable) {
    guard secret.count >= Self.shortestSecret else {
      throw Unusable(reason: "a secret needs \(Self.shortestSecret) bytes or more")
    }
    await collection.add(
      hmac: HMACKey(from: secret), digestAlgorithm: .sha256, kid: id.map { JWKIdentifier(string: $0) })
    algorithms[id] = "HS256"
  }

  private mutating func add(_ json: JSON, id: String?, isPublic: Bool) async throws(Unusable) {
    let algorithm: JWK.Algorithm
    switch (json["kty"]?.string, json["crv"]?.string) {
    case ("oct", _):
      guard !isPublic else { throw Unusable(reason: "everybody can read this secret") }
      guard json["alg"] == nil || json["alg"] == "HS256" else {
        throw Unusable(reason: "alg must be HS256 for this key")
      }
      guard let secret = json["k"]?.string.flatMap({ Base64URL.decode($0) }) else {
        throw Unusable(reason: "k is missing, or not base64url")
      }
      return try await add(secret, id: id)
    case ("RSA", _): algorithm = .rs256
    case ("EC", "P-256"): algorithm = .es256
    case ("OKP", "Ed25519"): algorithm = .eddsa
    default: throw Unusable(reason: "kty and crv must be oct, RSA, EC with P-256, or OKP with Ed25519")
    }
    guard json["alg"] == nil || json["alg"]?.string == algorithm.rawValue else {
      throw Unusable(reason: "alg must be \(algorithm.rawValue) for this key")
    }
    do {
      var key = try JWK(json: String(decoding: json.encoded, as: UTF8.self))
      // The collection takes only keys with a kid. A key without one is the only key, and so the default.
      (key.algorithm, key.keyIdentifier) = (algorithm, JWKIdentifier(string: id ?? ""))
      try await collection.add(jwk: key)
    } catch { throw Unusable(reason: "it is no key of its type, or too small") }
    algorithms[id] = algorithm.rawValue
  }
}
