internal import AsyncHTTPClient
internal import CoreMetrics
internal import Foundation
internal import JSON
package import Logging
internal import Machine
internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

/// Sends spans to a collector in batches. Spans are dropped and counted if the queue is full or the collector fails:
/// callers never wait.
package final class SpanExporter: Sendable {
  /// The most spans that wait to be sent; further ones are dropped.
  private static let capacity = 8_192
  /// The most spans in one request.
  private static let batch = 512
  private static let interval = Duration.seconds(1)
  /// The time limit of one request.
  private static let timeout = TimeAmount.seconds(3)
  /// The most bytes of a response.
  private static let maxAnswer = 1_048_576

  private let url: String
  private let service: String
  private let logger: Logger
  private let waiting = Mutex<[[UInt8]]>([])
  private let dropped = Counter(label: "spans_dropped_total")

  /// Fails if `endpoint` is not an HTTP URL.
  /// - Parameters:
  ///   - endpoint: the collector's URL, without `/v1/traces`.
  ///   - service: the name of this process.
  package init?(_ endpoint: String, service: String, logger: Logger) {
    guard let url = URL(string: (endpoint.hasSuffix("/") ? String(endpoint.dropLast()) : endpoint) + "/v1/traces"),
      ["http", "https"].contains(url.scheme), url.host != nil
    else { return nil }
    (self.url, self.service, self.logger) = (url.absoluteString, service, logger)
  }

  func add(_ span: [UInt8]) {
    let isRoom = waiting.withLock { waiting in
      guard waiting.count < Self.capacity else { return false }
      waiting.append(span)
      return true
    }
    if !isRoom { dropped.increment() }
  }

  /// Sends until the task is cancelled, and then sends the rest.
  package func run() async {
    var configuration = HTTPClient.Configuration()
    configuration.connectionPool.retryConnectionEstablishment = false
    // The export itself has no spans.
    configuration.tracing.tracer = nil
    let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    var isFailing = false
    repeat {
      try? await Machine.sleep(for: Self.interval)
      while true {
        let spans = waiting.withLock { waiting in
          let spans = Array(waiting.prefix(Self.batch))
          waiting.removeFirst(spans.count)
          return spans
        }
        guard !spans.isEmpty else { break }
        // In a separate task, so that cancellation does not stop the last spans.
        let failure = await Task { await self.send(spans, over: client) }.value
        if let failure {
          dropped.increment(by: spans.count)
          if !isFailing { logger.warning("spans cannot be exported", metadata: ["error": "\(failure)"]) }
        }
        isFailing = failure != nil
        // The other spans wait for the next interval. At shutdown they are dropped, so that it ends at once.
        if isFailing { break }
      }
    } while !Task.isCancelled
    dropped.increment(by: waiting.withLock { $0.count })
    do { try await client.shutdown() } catch {
      logger.warning("cannot close the connections of the trace exporter", metadata: ["error": "\(error)"])
    }
  }

  /// - Returns: the error; nil on success.
  private func send(_ spans: [[UInt8]], over client: HTTPClient) async -> String? {
    var json = JSONWriter(reserving: 400 * spans.count)
    json.object { json in
      json.member("resourceSpans") { json in
        json.array([0]) { json, _ in
          json.object { json in
            json.member("resource") { json in
              json.object { json in
                json.member("attributes") { json in
                  json.array([("service.name", service), ("service.namespace", "counterflow")]) { json, pair in
                    json.object { json in
                      json.member("key", pair.0)
                      json.member("value") { $0.object { $0.member("stringValue", pair.1) } }
                    }
                  }
                }
              }
            }
            json.member("scopeSpans") { json in
              json.array([0]) { json, _ in
                json.object { json in
                  json.member("scope") { $0.object { $0.member("name", "counterflow") } }
                  json.member("spans") { $0.array(spans) { $0.write(raw: $1) } }
                }
              }
            }
          }
        }
      }
    }
    var request = HTTPClientRequest(url: url)
    request.method = .POST
    request.headers.add(name: "Content-Type", value: "application/json")
    request.body = .bytes(json.bytes)
    do {
      let response = try await client.execute(request, timeout: Self.timeout)
      _ = try await response.body.collect(upTo: Self.maxAnswer)
      return (200..<300).contains(response.status.code) ? nil : "the collector answered \(response.status.code)"
    } catch { return "\(error)" }
  }
}
