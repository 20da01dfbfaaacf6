import Crypto
import Foundation
import JSON
import JWTKit
import Logging
import Postgres
import TestSupport
import Testing

@testable import AccessKit
@testable import HTTPKit
@testable import SettingsKit

private struct Claims: JWTPayload {
  var iss: String? = "counterflow"
  var aud: [String] = ["others", "counterflow"]
  var sub: String? = "ada"
  var scope: String? = "commands:write other"
  var exp: Int? = 2_000
  var nbf: Int?

  func verify(using key: some JWTAlgorithm) throws {}
}

/// Base64url-encodes a part of a token, for tokens that are not valid.
private func segment(_ text: String) -> String { Base64URL.encode(text.utf8) }

@Suite("Tokens")
struct TokenTests {
  private static let secret = String(repeating: "s3cret-", count: 6)
  private static let ecdsa = ES256PrivateKey()

  private func verifier(_ keys: TokenKeys? = nil) async throws -> TokenVerifier {
    let keys = if let keys { keys } else { try await TokenKeys.single(Self.secret) }
    return TokenVerifier(Keyring(keys), issuer: "counterflow", audience: "counterflow", leeway: .seconds(10))
  }

  private func sign(_ claims: Claims, with secret: String = secret, kid: String? = nil) async throws -> String {
    let keys = JWTKeyCollection()
    await keys.add(hmac: HMACKey(stringLiteral: secret), digestAlgorithm: .sha256)
    var header = JWTHeader()
    header.kid = kid
    return try await keys.sign(claims, header: header)
  }

  private func refusal(_ token: String, _ verifier: TokenVerifier, at now: Double = 1_000) async -> String? {
    do throws(TokenRefusal) {
      _ = try await verifier.verify(token, now: now)
      return nil
    } catch { return error.reason }
  }

  private func openssl(_ arguments: String...) async throws -> String {
    let process = try ChildProcess(URL(fileURLWithPath: "/usr/bin/openssl"), arguments)
    guard try await process.wait() == 0, let start = process.output.range(of: "-----BEGIN") else {
      throw NeverHappened(description: process.output)
    }
    return String(process.output[start.lowerBound...])
  }

  @Test("A token names a caller and its scopes, and is valid from nbf to exp, plus the leeway")
  func good() async throws {
    let verifier = try await verifier()
    let token = try await sign(Claims(nbf: 900))
    let caller = try await verifier.verify(token, now: 1_000)
    // The scope "other" is kept: only a route that asks for a scope gives it a meaning.
    #expect(caller == Caller(subject: "ada", scopes: [.commandsWrite, Scope("other")]))
    for now in [891.0, 2_009] { #expect(await refusal(token, verifier, at: now) == nil) }
    #expect(await refusal(token, verifier, at: 889)?.contains("not valid yet") == true)
    #expect(await refusal(token, verifier, at: 2_011)?.contains("expired") == true)
  }

  @Test("A token with a wrong issuer, audience, subject or expiry is rejected")
  func claims() async throws {
    let verifier = try await verifier()
    let wrong: [(Claims, String)] = [
      (Claims(iss: "mallory"), "issuer"), (Claims(iss: nil), "issuer"), (Claims(aud: ["others"]), "audience"),
      (Claims(sub: nil), "sub"), (Claims(sub: ""), "sub"), (Claims(sub: "a\nb"), "sub"), (Claims(exp: nil), "exp"),
      (Claims(exp: 253_402_300_800), "9999"), (Claims(exp: .max), "9999"),
    ]
    for (claims, reason) in wrong {
      #expect(await refusal(try await sign(claims), verifier)?.contains(reason) == true, "\(claims)")
    }
  }

  @Test("A forged token is rejected: no algorithm, wrong key, public key as secret, changed claim")
  func forged() async throws {
    let pem = Self.ecdsa.publicKey.pemRepresentation
    let (symmetric, asymmetric) = (try await verifier(), try await verifier(try await TokenKeys.single(pem)))
    let claims = #"{"iss":"counterflow","aud":"counterflow","sub":"ada","exp":2000}"#
    for header in [#"{"alg":"none"}"#, #"{"alg":"None"}"#, #"{"alg":"HS512"}"#, #"{"typ":"JWT"}"#, #"{"alg":1}"#] {
      for signature in ["", "AAAA", segment("signature")] {
        let token = "\(segment(header)).\(segment(claims)).\(signature)"
        for verifier in [symmetric, asymmetric] { #expect(await refusal(token, verifier) != nil, "\(header)") }
      }
    }
    // RFC 8725, section 2.1: an HMAC with the public key, which is no secret.
    #expect(await refusal(try await sign(Claims(), with: pem), asymmetric) != nil)
    #expect(await refusal(try await sign(Claims(), with: Self.secret + "x"), symmetric)?.contains("signature") == true)
    let token = try await sign(Claims())
    let parts = token.split(separator: ".")
    let other = segment(#"{"iss":"counterflow","aud":"counterflow","sub":"root","exp":2000}"#)
    #expect(await refusal("\(parts[0]).\(other).\(parts[2])", symmetric)?.contains("signature") == true)
    let critical = segment(#"{"alg":"HS256","crit":["b64"],"b64":false}"#)
    #expect(await refusal("\(critical).\(parts[1]).\(parts[2])", symmetric)?.contains("crit") == true)
    for broken in ["", ".", "..", "...", "a.b", token + ".x", token + "=", String(repeating: "a", count: 9_000)] {
      #expect(await refusal(broken, symmetric) != nil, "\(broken.prefix(40))")
    }
    #expect(await refusal(token, symmetric) == nil)
  }

  @Test("ES256, EdDSA and RS256 work with a PEM key and with a key set, where the kid selects the key")
  func asymmetric() async throws {
    let edwards = try EdDSA.PrivateKey()
    let ecdsa = Self.ecdsa
    let point = try #require(ecdsa.publicKey.parameters)
    let raw = Curve25519.Signing.PrivateKey()
    let x = Base64URL.encode(raw.publicKey.rawRepresentation)
    let rsa = try Insecure.RSA.PrivateKey(pem: try await openssl("genrsa", "2048"))
    let (modulus, exponent) = try rsa.publicKey.getKeyPrimitives()
    func base64url(_ text: String) -> String {
      text.replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }
    let set = """
      {"keys":[{"kty":"EC","crv":"P-256","kid":"one","alg":"ES256","x":"\(base64url(point.x))","y":"\(base64url(point.y))"},
      {"kty":"OKP","crv":"Ed25519","kid":"two","x":"\(x)"},
      {"kty":"oct","kid":"three","k":"\(segment(Self.secret))"},
      {"kty":"RSA","kid":"four","use":"sig","n":"\(Base64URL.encode(modulus))","e":"\(Base64URL.encode(exponent))"},
      {"kty":"RSA","kid":"five","alg":"RS512","n":"\(Base64URL.encode(modulus))","e":"AQAB"},{"kty":"EC","kid":"six","crv":"P-521"}]}
      """
    let read = try await TokenKeys.set(set)
    #expect(read.keys.count == 4)
    #expect(
      read.left.count == 2 && read.left[0].contains("key 4: alg must be RS256") && read.left[1].contains("key 5: kty"))
    let verifier = try await verifier(read.keys)
    let keys = JWTKeyCollection()
    await keys.add(ecdsa: ecdsa, kid: "one")
    await keys.add(eddsa: EdDSA.PrivateKey(backing: raw), kid: "two")
    await keys.add(eddsa: edwards, kid: "stranger")
    await keys.add(rsa: rsa, digestAlgorithm: .sha256, kid: "four")
    await keys.add(rsa: rsa, digestAlgorithm: .sha512, kid: "long")
    for kid in ["one", "two", "four"] {
      let token = try await keys.sign(Claims(), kid: JWKIdentifier(string: kid))
      #expect(await refusal(token, verifier) == nil, "\(kid)")
    }
    #expect(await refusal(try await keys.sign(Claims(), kid: "stranger"), verifier)?.contains("kid") == true)
    // The key is right, but the algorithm is not.
    let long = try await keys.sign(Claims(), kid: "long", header: ["kid": "four"])
    #expect(await refusal(long, verifier) != nil)
    // Without a kid the verifier tries all keys.
    let unnamed = JWTKeyCollection()
    await unnamed.add(rsa: rsa, digestAlgorithm: .sha256)
    #expect(await refusal(try await unnamed.sign(Claims()), verifier) == nil)
    #expect(await refusal(try await sign(Claims(), kid: "three"), verifier) == nil)
    #expect(await refusal(try await sign(Claims(), kid: "one"), verifier) != nil)
    let single = try await self.verifier(try await TokenKeys.single(ecdsa.publicKey.pemRepresentation))
    #expect(await refusal(try await keys.sign(Claims(), kid: "one"), single) == nil)
    let ofRSA = try await self.verifier(try await TokenKeys.single(rsa.publicKey.pemRepresentation))
    #expect(await refusal(try await keys.sign(Claims(), kid: "four"), ofRSA) == nil)
    #expect(await refusal(try await sign(Claims(), with: rsa.publicKey.pemRepresentation), ofRSA) != nil)
  }

  @Test("Unusable keys are rejected, and the error does not show them")
  func keys() async throws {
    let pem = Self.ecdsa.publicKey.pemRepresentation
    let wrong: [(AccessKind, String)] = [
      (.single, "too-short-a-secret"), (.single, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
      (
        .single,
        pem.split(separator: "\n").filter { !$0.hasPrefix("-----") }.joined(separator: "\n")
      ),
      (.single, "\n-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
      (.single, #" {"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]}"#), (.set, "{}"),
      (.set, #"{"keys":[]}"#), (.set, "secret-text"),
      (.set, #"{"keys":[{"kty":"RSA","n":"x","e":"AQAB"}]}"#),
      (.set, #"{"keys":[{"kty":"oct","use":"enc","k":"\#(segment(Self.secret))"}]}"#),
      (.set, #"{"keys":[{"kty":"oct","k":"c2hvcnQ"}]}"#),
      (.set, #"{"keys":[{"kty":"oct","k":"\#(segment(Self.secret))","alg":"HS512"}]}"#),
      (.set, #"{"keys":[{"kty":"oct","k":"\#(segment(Self.secret))"},{"kty":"oct","k":"\#(segment(Self.secret))"}]}"#),
    ]
    for (kind, text) in wrong {
      let variables = ["AUTH": "jwt", kind == .single ? "AUTH_KEY" : "AUTH_JWKS": text]
      await #expect {
        _ = try await Access(Settings(variables), logger: .quiet)
      } throws: {
        "\($0)".hasPrefix(kind == .single ? "AUTH_KEY" : "AUTH_JWKS") && !"\($0)".contains("secret-text")
      }
    }
    await #expect { _ = try await Access(Settings([:]), logger: .quiet) } throws: { "\($0)".contains("AUTH_JWKS") }
  }

  enum AccessKind { case single, set }

  @Test("Without authentication a service listens on loopback only, unless a setting allows more")
  func off() async throws {
    for host in ["127.0.0.1", "localhost", "::1", "127.1.2.3"] {
      _ = try await Access(Settings(["AUTH": "off", "HTTP_HOST": host]), logger: .quiet)
    }
    for host in ["0.0.0.0", "::", "127.example.org", "127.0.0.1.example.org", "10.0.0.1"] {
      await #expect {
        _ = try await Access(Settings(["AUTH": "off", "HTTP_HOST": host]), logger: .quiet)
      } throws: { "\($0)".hasPrefix("AUTH is 'off'") }
      _ = try await Access(
        Settings(["AUTH": "off", "HTTP_HOST": host, "AUTH_OFF_LETS_ANYONE_WHO_REACHES_THIS_PORT_IN": "yes"]),
        logger: .quiet)
    }
  }

  @Test("Base64url follows RFC 4648 without padding, and rejects everything else")
  func base64url() {
    let vectors = [
      "": "", "f": "Zg", "fo": "Zm8", "foo": "Zm9v", "foob": "Zm9vYg", "fooba": "Zm9vYmE", "foobar": "Zm9vYmFy",
    ]
    for (clear, encoded) in vectors {
      #expect(Base64URL.encode(clear.utf8) == encoded)
      #expect(Base64URL.decode(encoded) == Array(clear.utf8))
    }
    #expect(Base64URL.encode([0xFB, 0xFF]) == "-_8" && Base64URL.decode("-_8") == [0xFB, 0xFF])
    for wrong in ["Zg==", "Zh", "Zm9", "+_8", "-/8", "Z", "Zm 9", "Zm9v\n", "é"] {
      #expect(Base64URL.decode(wrong) == nil, "\(wrong)")
    }
  }

  @Test("The limiter keeps the rate with a burst of twice the rate, and does not affect other callers")
  func rate() {
    let limiter = RateLimiter(rate: 10)
    let start = ContinuousClock.now
    for _ in 0..<20 { #expect(limiter.take("a", at: start) == nil) }
    #expect(limiter.take("a", at: start) == .seconds(0.1))
    #expect(limiter.take("b", at: start) == nil)
    #expect(limiter.take("a", at: start + .milliseconds(100)) == nil)
    #expect(limiter.take("a", at: start + .milliseconds(101)) != nil)
    for index in 0..<70_000 { _ = limiter.take("address \(index)", at: start + .seconds(10)) }
    #expect(limiter.take("a", at: start + .seconds(10)) == nil)
  }
}
