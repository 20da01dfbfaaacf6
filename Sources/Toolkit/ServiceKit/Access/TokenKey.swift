internal import Foundation
internal import JSON
internal import JWTKit

/// A key that tokens are verified with, and the one algorithm that it is for.
public struct TokenKey: Sendable {
  /// Bytes that a secret must have (RFC 7518, section 3.2).
  static let shortestSecret = 32

  /// The header's kid; nil for a key without a name.
  let id: String?
  /// HS256, ES256 or EdDSA.
  let algorithm: String
  private let key: any JWTAlgorithm

  func verifies(_ signature: [UInt8], of bytes: [UInt8]) -> Bool {
    // What throws here is a signature of a length that is none.
    (try? key.verify(signature, signs: bytes)) ?? false
  }

  /// What is wrong with a key, in words for an operator. It never holds the key.
  struct Unusable: Error {
    let reason: String
  }

  /// - Parameter text: a secret for HS256, or a public key in PEM for ES256 (P-256) or EdDSA (Ed25519).
  static func single(_ text: String) async throws(Unusable) -> TokenKey {
    let keys = JWTKeyCollection()
    // Taken for a secret, what everybody may know would let everybody in.
    let first = text.first { !$0.isWhitespace }
    guard text.hasPrefix("-----BEGIN") || !(text.contains("-----BEGIN") || first == "{" || first == "[") else {
      throw Unusable(
        reason: "it is no secret, and no PEM that begins with -----BEGIN; a key set belongs into AUTH_JWKS")
    }
    guard text.hasPrefix("-----BEGIN") else {
      // DER begins with a sequence (0x30), whose length follows.
      let body = text.filter { !$0.isWhitespace }
      if let bytes = Data(base64Encoded: body), bytes.first == 0x30, bytes.count > 40, Int(bytes[1]) == bytes.count - 2
      {
        throw Unusable(reason: "it is a key in DER, without the lines -----BEGIN and -----END of PEM around it")
      }
      guard text.utf8.count >= shortestSecret else {
        throw Unusable(reason: "a secret needs \(shortestSecret) bytes or more")
      }
      await keys.add(hmac: HMACKey(stringLiteral: text), digestAlgorithm: .sha256)
      return try await only(in: keys, id: nil, "HS256")
    }
    if let key = try? ES256PublicKey(pem: text) {
      await keys.add(ecdsa: key)
      return try await only(in: keys, id: nil, "ES256")
    }
    if let key = try? EdDSA.PublicKey(pem: text) {
      await keys.add(eddsa: key)
      return try await only(in: keys, id: nil, "EdDSA")
    }
    throw Unusable(reason: "the PEM is not a public key of P-256 or Ed25519")
  }

  /// - Parameter text: a JSON Web Key Set (RFC 7517) with keys of the types oct, EC (P-256) and OKP (Ed25519).
  static func set(_ text: String) async throws(Unusable) -> [TokenKey] {
    let json: JSON
    do throws(JSONError) { json = try JSON(parsing: Array(text.utf8)) } catch {
      throw Unusable(reason: "it is not JSON: \(error)")
    }
    guard let members = json["keys"]?.array, !members.isEmpty else { throw Unusable(reason: "it has no keys") }
    var keys: [TokenKey] = []
    for (index, member) in members.enumerated() {
      do throws(Unusable) { keys.append(try await key(member)) } catch {
        throw Unusable(reason: "key \(index): \(error.reason)")
      }
    }
    guard members.count == 1 || keys.allSatisfy({ $0.id != nil }), Set(keys.map(\.id)).count == keys.count else {
      throw Unusable(reason: "several keys need a kid each, and no two the same")
    }
    return keys
  }

  private static func key(_ json: JSON) async throws(Unusable) -> TokenKey {
    let keys = JWTKeyCollection()
    let id = json["kid"]?.string
    let algorithm: String
    switch (json["kty"]?.string, json["crv"]?.string) {
    case ("oct", _):
      guard let secret = json["k"]?.string.flatMap({ Base64URL.decode($0) }),
        secret.count >= shortestSecret
      else { throw Unusable(reason: "k is missing, not base64url, or of less than \(shortestSecret) bytes") }
      await keys.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
      algorithm = "HS256"
    case ("EC", "P-256"):
      guard let x = json["x"]?.string, let y = json["y"]?.string, let key = try? ES256PublicKey(parameters: (x, y))
      else { throw Unusable(reason: "x and y are not a point of P-256") }
      await keys.add(ecdsa: key)
      algorithm = "ES256"
    case ("OKP", "Ed25519"):
      guard let x = json["x"]?.string, let key = try? EdDSA.PublicKey(x: x, curve: .ed25519)
      else { throw Unusable(reason: "x is not a public key of Ed25519") }
      await keys.add(eddsa: key)
      algorithm = "EdDSA"
    default:
      throw Unusable(reason: "kty and crv must be oct, EC with P-256, or OKP with Ed25519")
    }
    guard json["alg"] == nil || json["alg"]?.string == algorithm else {
      throw Unusable(reason: "alg must be \(algorithm) for this key")
    }
    return try await only(in: keys, id: id, algorithm)
  }

  private static func only(in keys: JWTKeyCollection, id: String?, _ algorithm: String) async throws(Unusable)
    -> TokenKey
  {
    do { return TokenKey(id: id, algorithm: algorithm, key: try await keys.getKey()) } catch {
      throw Unusable(reason: "it cannot be used")
    }
  }
}
