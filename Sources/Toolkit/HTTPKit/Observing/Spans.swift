internal import HTTPTypes
internal import Instrumentation
internal import Observability
internal import Tracing

/// The spans of a service's work.
public enum Spans {
  /// Whether tracing is on. If not, requests skip this code.
  static let isOn = !(InstrumentationSystem.tracer is NoOpTracer)

  /// The `traceparent` of the current span; nil if tracing is off.
  public static var current: String? { isOn ? Traces.current : nil }

  /// Runs `body` in a span for the request, as a child of the span that its headers name.
  /// - Parameter body: returns the response, the route and the status.
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

  /// Runs `body` in a child of the current span, or without a span if tracing is off.
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
