internal import AsyncHTTPClient
internal import EventLoop
internal import FoundationEssentials
internal import HTTPKit
internal import Logging
internal import Machine
internal import Metrics
internal import NIOCore
internal import NIOHTTP1
internal import ServiceLifecycle
internal import Synchronization

/// Holds the current keys of tokens. Fetched keys are missing at first, and can change later.
final class Keyring: Sendable {
  private let state: Mutex<(keys: TokenKeys?, revision: Int)>
  /// Signalled when a token names a key that is not known.
  let isWanting = Wakeup()

  /// - Parameter keys: nil if they must be fetched first.
  init(_ keys: TokenKeys? = nil) { state = Mutex((keys, 0)) }

  /// nil before the first fetch. The revision changes whenever the keys change.
  var current: (keys: TokenKeys, revision: Int)? {
    state.withLock { state in state.keys.map { ($0, state.revision) } }
  }

  func replace(by keys: TokenKeys) { state.withLock { $0 = (keys, $0.revision + 1) } }
}

/// Fetches a JSON Web Key Set at an interval, and sooner when a token names an unknown key. If a fetch fails, the
/// current keys stay.
package final class FetchedKeys: Service {
  struct Pace {
    /// The time from one fetch to the next.
    var interval: Duration
    /// The shortest time from a fetch to one that an unknown key causes.
    var shortest = Duration.seconds(10)
  }

  /// The time limit of one fetch.
  private static let timeout = TimeAmount.seconds(10)
  /// The maximum size of a key set, in bytes.
  private static let longestSet = 1_048_576

  private let url: String
  private let pace: Pace
  private let keyring: Keyring
  private let client: HTTPClient.Configuration
  private let logger: Logger
  private let failures = Counter(label: "token_key_fetches_failed_total")

  init(_ url: String, into keyring: Keyring, pace: Pace, client: HTTPClient.Configuration = .init(), logger: Logger) {
    (self.url, self.keyring, self.pace, self.client, self.logger) = (url, keyring, pace, client, logger)
  }

  package func run() async throws {
    let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: client)
    await cancelWhenGracefulShutdown {
      var backoff = Backoff(first: .seconds(1), limit: .seconds(60))
      var left: [String] = []
      while !Task.isCancelled {
        do {
          let fetched = try await self.fetch(client)
          backoff.reset()
          self.keyring.replace(by: fetched.keys)
          if fetched.left != left, !fetched.left.isEmpty {
            self.logger.warning(
              "some keys of the key set are unusable", metadata: ["reason": "\(fetched.left.joined(separator: "; "))"])
          }
          left = fetched.left
          try? await Machine.sleep(for: min(self.pace.shortest, self.pace.interval))
          await self.keyring.isWanting.wait(upTo: max(self.pace.interval - self.pace.shortest, .milliseconds(1)))
        } catch {
          guard !Task.isCancelled else { break }
          self.failures.increment()
          self.logger.error(
            "cannot fetch the key set; trying again", metadata: ["url": "\(self.url)", "error": "\(error)"])
          try? await Machine.sleep(for: backoff.next())
        }
      }
    }
    try await client.shutdown()
  }

  private func fetch(_ client: HTTPClient) async throws -> (keys: TokenKeys, left: [String]) {
    var request = HTTPClientRequest(url: url)
    request.headers.add(name: "Accept", value: "application/jwk-set+json, application/json")
    let answer = try await client.execute(request, timeout: Self.timeout)
    guard answer.status == .ok else { throw FetchFailure(description: "the answer is \(answer.status.code)") }
    let body = try await answer.body.collect(upTo: Self.longestSet)
    do throws(TokenKeys.Unusable) {
      return try await TokenKeys.set(String(buffer: body), isPublic: true)
    } catch { throw FetchFailure(description: "the set is of no use: \(error.reason)") }
  }
}

private struct FetchFailure: Error, CustomStringConvertible {
  let description: String
}
