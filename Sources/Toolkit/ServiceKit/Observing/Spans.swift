internal import HTTPTypes
internal import Instrumentation
internal import Observability
internal import Tracing

/// The spans of a service's own work.
public enum Spans {
  /// Whether anybody makes spans: without, requests do not pass through any of this.
  static let isOn = !(InstrumentationSystem.tracer is NoOpTracer)

  /// The `traceparent` of the span that goes on; nil where nobody makes spans.
  public static var current: String? { isOn ? Traces.current : nil }

  /// A request's span, child of the one that it came with.
  /// - Parameter body: answers with the route and the status besides.
  static func server<Answer: Sendable>(
    _ headers: HTTPFields, _ method: String, _ body: () async -> (Answer, route: String?, status: Int)
  ) async -> Answer {
    var context = InstrumentationContext.topLevel
    InstrumentationSystem.instrument.extract(headers, into: &context, using: Headers())
    let span = startSpan(method, context: context, ofKind: .server)
    let (answer, route, status) = await InstrumentationContext.$current.withValue(span.context) { await body() }
    if let route { span.operationName = "\(method) \(route)" }
    span.updateAttributes { attributes in
      attributes["http.request.method"] = method
      attributes["http.route"] = route
      attributes["http.response.status_code"] = status
    }
    if status >= 500 { span.setStatus(SpanStatus(code: .error)) }
    span.end()
    return answer
  }

  /// A span within the one that goes on; none where nobody makes spans.
  public static func within<Answer: Sendable>(
    _ name: String, _ attributes: [String: String] = [:], _ body: () async throws -> Answer
  ) async rethrows -> Answer {
    guard isOn else { return try await body() }
    return try await withSpan(name, ofKind: .internal) { span in
      for (key, value) in attributes { span.attributes[key] = value }
      return try await body()
    }
  }

  private struct Headers: Extractor {
    func extract(key: String, from headers: HTTPFields) -> String? {
      HTTPField.Name(key).flatMap { headers[$0] }
    }
  }
}
