import Base64URL
import Crypto
import Foundation
import JSON
import JWTKit
import Logging
import Postgres
import TestSupport
import Testing

@testable import ServiceKit

private struct Claims: JWTPayload {
  var iss: String? = "counterflow"
  var aud: [String] = ["others", "counterflow"]
  var sub: String? = "ada"
  var scope: String? = "commands:write other"
  var exp: Int? = 2_000
  var nbf: Int?

  func verify(using key: some JWTAlgorithm) throws {}
}

/// A payload without claims, for tokens that are not as they should be.
private func segment(_ text: String) -> String { Base64URL.encode(text.utf8) }

@Suite("Tokens")
struct TokenTests {
  private static let secret = String(repeating: "s3cret-", count: 6)
  private static let ecdsa = ES256PrivateKey()

  private func verifier(_ keys: [TokenKey]? = nil) async throws -> TokenVerifier {
    let keys = if let keys { keys } else { [try await TokenKey.single(Self.secret)] }
    return TokenVerifier(keys: keys, issuer: "counterflow", audience: "counterflow", leeway: .seconds(10))
  }

  private func sign(_ claims: Claims, with secret: String = secret, kid: String? = nil) async throws -> String {
    let keys = JWTKeyCollection()
    await keys.add(hmac: HMACKey(stringLiteral: secret), digestAlgorithm: .sha256)
    var header = JWTHeader()
    header.kid = kid
    return try await keys.sign(claims, header: header)
  }

  private func refusal(_ token: String, _ verifier: TokenVerifier, at now: Double = 1_000) -> String? {
    do throws(TokenRefusal) {
      _ = try verifier.verify(token, now: now)
      return nil
    } catch { return error.reason }
  }

  @Test("a token says who it is and what it may do, from nbf to exp, give or take the leeway")
  func good() async throws {
    let verifier = try await verifier()
    let token = try await sign(Claims(nbf: 900))
    let caller = try verifier.verify(token, now: 1_000)
    #expect(caller == Caller(subject: "ada", scopes: [.commandsWrite]))
    #expect(refusal(token, verifier, at: 891) == nil && refusal(token, verifier, at: 2_009) == nil)
    #expect(refusal(token, verifier, at: 889)?.contains("not valid yet") == true)
    #expect(refusal(token, verifier, at: 2_011)?.contains("expired") == true)
  }

  @Test("claims that are not ours are refused")
  func claims() async throws {
    let verifier = try await verifier()
    let wrong: [(Claims, String)] = [
      (Claims(iss: "mallory"), "issuer"), (Claims(iss: nil), "issuer"), (Claims(aud: ["others"]), "audience"),
      (Claims(sub: nil), "sub"), (Claims(sub: ""), "sub"), (Claims(sub: "a\nb"), "sub"), (Claims(exp: nil), "exp"),
    ]
    for (claims, reason) in wrong {
      #expect(refusal(try await sign(claims), verifier)?.contains(reason) == true, "\(claims)")
    }
  }

  @Test("neither alg none, nor another key, nor a public key as a secret, nor a changed claim gets in")
  func forged() async throws {
    let pem = Self.ecdsa.publicKey.pemRepresentation
    let (symmetric, asymmetric) = (try await verifier(), try await verifier([try await TokenKey.single(pem)]))
    let claims = #"{"iss":"counterflow","aud":"counterflow","sub":"ada","exp":2000}"#
    for header in [#"{"alg":"none"}"#, #"{"alg":"None"}"#, #"{"alg":"HS512"}"#, #"{"typ":"JWT"}"#, #"{"alg":1}"#] {
      for signature in ["", "AAAA", segment("signature")] {
        let token = "\(segment(header)).\(segment(claims)).\(signature)"
        #expect(refusal(token, symmetric) != nil && refusal(token, asymmetric) != nil, "\(header)")
      }
    }
    // RFC 8725, section 2.1: an HMAC with the public key, which everybody knows.
    #expect(refusal(try await sign(Claims(), with: pem), asymmetric) != nil)
    #expect(refusal(try await sign(Claims(), with: Self.secret + "x"), symmetric)?.contains("signature") == true)
    let token = try await sign(Claims())
    let parts = token.split(separator: ".")
    let other = segment(#"{"iss":"counterflow","aud":"counterflow","sub":"root","exp":2000}"#)
    #expect(refusal("\(parts[0]).\(other).\(parts[2])", symmetric)?.contains("signature") == true)
    let critical = segment(#"{"alg":"HS256","crit":["b64"],"b64":false}"#)
    #expect(refusal("\(critical).\(parts[1]).\(parts[2])", symmetric)?.contains("crit") == true)
    for broken in ["", ".", "..", "...", "a.b", token + ".x", token + "=", String(repeating: "a", count: 9_000)] {
      #expect(refusal(broken, symmetric) != nil, "\(broken.prefix(40))")
    }
    #expect(refusal(token, symmetric) == nil)
  }

  @Test("ES256 and EdDSA, from PEM and from a key set, where a kid names the key")
  func asymmetric() async throws {
    let edwards = try EdDSA.PrivateKey()
    let ecdsa = Self.ecdsa
    let point = try #require(ecdsa.publicKey.parameters)
    let raw = Curve25519.Signing.PrivateKey()
    let x = Base64URL.encode(raw.publicKey.rawRepresentation)
    func base64url(_ text: String) -> String {
      text.replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }
    let set = """
      {"keys":[{"kty":"EC","crv":"P-256","kid":"one","alg":"ES256","x":"\(base64url(point.x))","y":"\(base64url(point.y))"},
      {"kty":"OKP","crv":"Ed25519","kid":"two","x":"\(x)"},
      {"kty":"oct","kid":"three","k":"\(segment(Self.secret))"}]}
      """
    let verifier = try await verifier(try await TokenKey.set(set))
    let keys = JWTKeyCollection()
    await keys.add(ecdsa: ecdsa, kid: "one")
    await keys.add(eddsa: EdDSA.PrivateKey(backing: raw), kid: "two")
    await keys.add(eddsa: edwards, kid: "stranger")
    for kid in ["one", "two"] {
      let token = try await keys.sign(Claims(), kid: JWKIdentifier(string: kid))
      #expect(refusal(token, verifier) == nil, "\(kid)")
    }
    #expect(refusal(try await keys.sign(Claims(), kid: "stranger"), verifier)?.contains("kid") == true)
    #expect(refusal(try await sign(Claims(), kid: "three"), verifier) == nil)
    #expect(refusal(try await sign(Claims(), kid: "one"), verifier) != nil)
    let single = try await self.verifier([try await TokenKey.single(ecdsa.publicKey.pemRepresentation)])
    #expect(refusal(try await keys.sign(Claims(), kid: "one"), single) == nil)
  }

  @Test("keys that cannot be used are refused, without a word of them")
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

  @Test("without authentication a service listens on loopback only, unless one insists")
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

  @Test("base64url as RFC 4648 has it, without padding, and nothing else")
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

  @Test("a rate is kept, with twice of it at once after a rest; others are not held up")
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

@Suite("Authentication", .tags(.system), .needsServers)
struct AuthenticationTests {
  private static let secret = String(repeating: "k3y-", count: 10)
  private static let lantern: JSON = ["sku": "LANTERN", "name": "Lantern", "unitPrice": 300, "tracksStock": false]

  private func token(_ subject: String, _ scopes: Scope...) async throws -> [String: String] {
    let token = try await developmentToken(
      Settings(["AUTH_KEY": Self.secret]), subject: subject, scopes: Set(scopes), lifetime: .seconds(600))
    return ["Authorization": "Bearer \(token)"]
  }

  @Test(
    "each route asks for its scope; overrides for theirs; keys are the caller's own; events say who", .freshDatabase())
  func scopes() async throws {
    let system = System(settings: ["AUTH": "jwt", "AUTH_KEY": Self.secret])
    try await system.migrate()
    let commands = try await system.startReady(.commandService)
    let queries = try await system.startReady(.queryService)
    let (ada, bob) = (try await token("ada", .commandsWrite), try await token("bob", .commandsWrite, .ordersOverride))
    let reader = try await token("reader", .queriesRead)
    let body = Self.lantern.encoded

    let without = try await commands.http.send("POST", "/v1/products", body: body)
    #expect(
      without.status == 401 && without.problem == "unauthorized" && without.headers["www-authenticate"] == "Bearer")
    let forged = try await commands.http.send(
      "POST", "/v1/products", body: body, headers: ["Authorization": "Bearer e30.e30.e30"])
    #expect(forged.status == 401 && forged.headers["www-authenticate"]?.contains("invalid_token") == true)
    #expect(
      try await commands.http.send("POST", "/v1/products", body: body, headers: ["Authorization": "Basic YTpi"]).status
        == 401)
    let refused = try await commands.http.send("POST", "/v1/products", body: body, headers: reader)
    #expect(refused.status == 403 && refused.problem == "insufficient-scope")
    #expect(refused.headers["www-authenticate"]?.contains("commands:write") == true)
    #expect(try await queries.http.send("GET", "/v1/products", headers: ada).status == 403)
    #expect(try await queries.http.get("/v1/products").status == 401)
    #expect(try await queries.http.send("GET", "/v1/products", headers: reader).status == 200)
    for path in ["/healthz", "/readyz", "/openapi.yaml"] { #expect(try await commands.http.get(path).status == 200) }

    #expect(try await commands.http.send("POST", "/v1/products", body: body, headers: ada).status == 201)
    let cheap: JSON = ["orderId": "o-1", "lines": [["sku": "LANTERN", "quantity": 1, "unitPrice": 1]]]
    let early: JSON = [
      "orderId": "o-2", "placedAt": "2001-01-01T00:00:00Z", "lines": [["sku": "LANTERN", "quantity": 1]],
    ]
    for order in [cheap, early] {
      let refused = try await commands.http.send("POST", "/v1/orders", body: order.encoded, headers: ada)
      #expect(refused.status == 403 && refused.headers["www-authenticate"]?.contains("orders:override") == true)
      #expect(try await commands.http.send("POST", "/v1/orders", body: order.encoded, headers: bob).status == 201)
    }

    // The same key means something else for someone else.
    let (first, second) = (ada.merging(["Idempotency-Key": "k"]) { $1 }, bob.merging(["Idempotency-Key": "k"]) { $1 })
    let order: JSON = ["orderId": "o-3", "lines": [["sku": "LANTERN", "quantity": 1]]]
    let other: JSON = ["orderId": "o-4", "lines": [["sku": "LANTERN", "quantity": 1]]]
    #expect(try await commands.http.send("POST", "/v1/orders", body: order.encoded, headers: first).status == 201)
    #expect(try await commands.http.send("POST", "/v1/orders", body: other.encoded, headers: second).status == 201)
    #expect(try await commands.http.send("POST", "/v1/orders", body: other.encoded, headers: first).status == 422)

    let connection = try await FreshDatabase.current.connect()
    let actors = try await connection.query(
      "select metadata::json ->> 'actor' from event_store.events order by position"
    ).decode(String.self)
    #expect(actors == ["ada", "bob", "bob", "ada", "bob"])
    #expect(!commands.process.output.contains(Self.secret) && !commands.process.output.contains("eyJ"))
  }

  @Test(
    "more requests than are allowed answer 429, from a subject and from an address behind a proxy", .freshDatabase())
  func rates() async throws {
    let system = System(
      settings: [
        "AUTH": "jwt", "AUTH_KEY": Self.secret, "RATE_LIMIT_PER_SUBJECT": "1", "RATE_LIMIT_PER_ADDRESS": "3",
        "TRUSTED_PROXIES": "1",
      ])
    try await system.migrate()
    let queries = try await system.startReady(.queryService)
    let (ada, bob) = (try await token("ada", .queriesRead), try await token("bob", .queriesRead))
    func get(_ headers: [String: String], from address: String) async throws -> HTTPAnswer {
      let forwarded = ["X-Forwarded-For": "spoofed, \(address)"]
      return try await queries.http.send("GET", "/v1/products", headers: headers.merging(forwarded) { $1 })
    }
    var answers: [HTTPAnswer] = []
    for index in 0..<20 { answers.append(try await get(ada, from: "10.0.0.\(index)")) }
    let refused = try #require(answers.first { $0.status == 429 })
    #expect(refused.problem == "too-many-requests" && Int(refused.headers["retry-after"] ?? "") == 1)
    #expect(answers.prefix(2).allSatisfy { $0.status == 200 })
    #expect(try await get(bob, from: "10.0.1.1").status == 200)
    // Those who guess tokens are held up as well.
    var guesses: [Int] = []
    for _ in 0..<40 { guesses.append(try await get([:], from: "10.0.2.2").status) }
    #expect(guesses.prefix(6).allSatisfy { $0 == 401 } && guesses.contains(429))
    #expect(try await get(bob, from: "10.0.3.3").status != 401)
  }

  @Test("counterflow token makes a token that the services take, and needs the secret", .freshDatabase())
  func command() async throws {
    let system = System(settings: ["AUTH": "jwt", "AUTH_KEY": Self.secret])
    try await system.migrate()
    let made = try system.run("counterflow", ["token", "--subject", "eve", "--scope", "queries:read"])
    #expect(try await made.wait() == 0)
    let token = try #require(made.output.split(separator: "\n").first)
    let queries = try await system.startReady(.queryService)
    #expect(
      try await queries.http.send("GET", "/v1/orders", headers: ["Authorization": "bearer \(token)"]).status == 200)
    let refused = try System(settings: ["AUTH_KEY": "short"]).run("counterflow", ["token"])
    #expect(try await refused.wait() == 78)
    #expect(refused.output.hasPrefix("counterflow: AUTH_KEY") && !refused.output.contains("short;"))
    let open = try System(settings: ["HTTP_HOST": "0.0.0.0", "HTTP_PORT": "0"]).run("query-service")
    #expect(try await open.wait() == 78)
    #expect(open.output.contains("AUTH is 'off'"))
  }
}
