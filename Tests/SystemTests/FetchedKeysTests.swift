import CoreMetrics
import Foundation
import Hummingbird
import JSON
import JWTKit
import Logging
import MetricsTestKit
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

@testable import AccessKit
@testable import HTTPKit
@testable import SettingsKit

private struct Claims: JWTPayload {
  var iss = "counterflow"
  var aud = "counterflow"
  var sub = "ada"
  var scope = "commands:write"
  var exp = 4_000_000_000

  func verify(using _: some JWTAlgorithm) {}
}

/// An identity provider whose response can be changed.
private final class Provider: Sendable {
  private struct State {
    var answer: (status: HTTPResponse.Status, body: String) = (.internalServerError, "")
    var asked = 0
  }

  private let state = Mutex(State())

  func answers(_ body: String, _ status: HTTPResponse.Status = .ok) {
    state.withLock { $0.answer = (status, body) }
  }

  var asked: Int { state.withLock { $0.asked } }

  /// Serves while `body` runs; `body` gets the URL.
  func serving(_ body: @escaping @Sendable (String) async throws -> Void) async throws {
    let router = Router()
    router.get("/keys") { _, _ in
      let answer = self.state.withLock { state in
        state.asked += 1
        return state.answer
      }
      return Response(status: answer.status, body: .init(byteBuffer: .init(string: answer.body)))
    }
    let (ports, port) = AsyncStream.makeStream(of: Int.self)
    let server = Application(
      router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
      onServerRunning: { port.yield($0.localAddress?.port ?? 0) }, logger: .quiet)
    let group = ServiceGroup(configuration: .init(services: [.init(service: server)], logger: .quiet))
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask { try await group.run() }
      tasks.addTask {
        let own = await ports.first { _ in true }
        do { try await body("http://127.0.0.1:\(own ?? 0)/keys") } catch {
          await group.triggerGracefulShutdown()
          throw error
        }
        await group.triggerGracefulShutdown()
      }
      try await tasks.waitForAll()
    }
  }
}

/// A key, and its entry in a key set.
private struct NamedKey: Sendable {
  let name: String
  let json: String
  private let collection = JWTKeyCollection()

  init(_ name: String) async throws {
    let key = ES256PrivateKey()
    let point = try #require(key.publicKey.parameters)
    func base64url(_ text: String) -> String {
      text.replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }
    self.name = name
    json = #"{"kty":"EC","crv":"P-256","kid":"\#(name)","x":"\#(base64url(point.x))","y":"\#(base64url(point.y))"}"#
    await collection.add(ecdsa: key, kid: JWKIdentifier(string: name))
  }

  func token() async throws -> String { try await collection.sign(Claims(), kid: JWKIdentifier(string: name)) }
}

@Suite("Fetched token keys")
struct FetchedKeysTests {
  private func set(_ keys: NamedKey...) -> String { #"{"keys":[\#(keys.map(\.json).joined(separator: ","))]}"# }

  private func isTaken(_ token: String, by verifier: TokenVerifier) async -> Bool {
    do throws(TokenRefusal) {
      _ = try await verifier.verify(token)
      return true
    } catch { return false }
  }

  @Test("Keys are used once fetched, fetched again for an unknown kid, and kept if a fetch fails")
  func rotation() async throws {
    let (old, new) = (try await NamedKey("old"), try await NamedKey("new"))
    let (ofOld, ofNew) = (try await old.token(), try await new.token())
    let (provider, log, metrics) = (Provider(), LogRecorder(), TestMetrics())
    try await provider.serving { url in
      let keyring = Keyring()
      let verifier = TokenVerifier(keyring, issuer: "counterflow", audience: "counterflow", leeway: .seconds(1))
      let keys = withMetricsFactory(metrics) {
        FetchedKeys(
          url, into: keyring, pace: .init(interval: .seconds(3600), shortest: .milliseconds(1)),
          logger: log.logger)
      }
      try await withThrowingTaskGroup(of: Void.self) { tasks in
        tasks.addTask { try await keys.run() }
        try await eventually("it has failed") {
          metrics.counterTotal(label: "token_key_fetches_failed_total") > 0
            && log.lines.contains { $0.hasPrefix("error cannot fetch the key set") && $0.contains("500") }
        }
        #expect(!verifier.isReady)
        // A symmetric key in a public key set is ignored: everybody can read it.
        provider.answers(
          "{\"keys\":[\(old.json),{\"kty\":\"oct\",\"kid\":\"s\",\"k\":\"\(String(repeating: "A", count: 64))\"}]}")
        try await eventually("they are there") { verifier.isReady }
        #expect(await isTaken(ofOld, by: verifier))
        #expect(
          log.lines.contains { $0.hasPrefix("warning some keys") && $0.contains("everybody can read this secret") })

        provider.answers(set(new))
        try await eventually("the new key is there") { await isTaken(ofNew, by: verifier) }
        // The old key is rejected, although its token was cached.
        #expect(await !isTaken(ofOld, by: verifier))
        for (status, body) in [(HTTPResponse.Status.badGateway, ""), (.ok, "{"), (.ok, set())] {
          provider.answers(body, status)
          let (asked, failed) = (provider.asked, metrics.counterTotal(label: "token_key_fetches_failed_total"))
          #expect(await !isTaken(ofOld, by: verifier))
          try await eventually("it was fetched in vain") {
            provider.asked > asked && metrics.counterTotal(label: "token_key_fetches_failed_total") > failed
          }
          #expect(await isTaken(ofNew, by: verifier))
        }
        tasks.cancelAll()
      }
    }
  }

  @Test("A process without keys is not ready and rejects requests, until it has fetched keys", .freshStores)
  func process() async throws {
    let key = try await NamedKey("one")
    let headers = ["Authorization": "Bearer \(try await key.token())"]
    let product: JSON = ["sku": "A", "name": "A", "unitPrice": 5, "tracksStock": false]
    let provider = Provider()
    try await provider.serving { url in
      let system = System(settings: ["AUTH": "jwt", "AUTH_JWKS_URL": url])
      try await system.migrate()
      let commands = try await system.start(.commandService)
      try await eventually("it says why it is not ready") {
        let answer = try await commands.http.get("/readyz")
        return answer.status == 503 && answer.json["failures"]?.members?.map(\.name) == ["tokenKeys"]
      }
      let early = try await commands.http.send("POST", "/v1/products", body: product.encoded, headers: headers)
      #expect(early.status == 503 && early.problem == "unavailable", "\(early.text)")
      provider.answers(set(key))
      try await commands.becomesReady()
      let taken = try await commands.http.send("POST", "/v1/products", body: product.encoded, headers: headers)
      #expect(taken.status == 201, "\(taken.text)")
    }
  }

  @Test("An invalid key URL, and both key settings at once, are reported at the start")
  func settings() async throws {
    for (variables, words) in [
      (["AUTH_JWKS_URL": "keys"], "AUTH_JWKS_URL must be a URL"), (["AUTH_JWKS_URL": "ftp://a/b"], "must be a URL"),
      (["AUTH_JWKS_URL": "https://a:b@c/d"], "without a user and a password"),
      (["AUTH_JWKS_URL": "http://a/b", "AUTH_JWKS": "{}"], "one of them"),
      (["AUTH_JWKS_URL": "http://a/b", "AUTH_JWKS_INTERVAL": "1"], "AUTH_JWKS_INTERVAL"),
    ] {
      await #expect {
        _ = try await Access(Settings(variables), logger: .quiet)
      } throws: { "\($0)".contains(words) }
    }
  }
}
