package import Logging
internal import Tracing

/// The trace of the current task; nil without a tracer.
package enum Traces {
  /// Adds `trace_id` and `span_id` to log lines.
  package static let metadata = Logger.MetadataProvider {
    guard let trace = InstrumentationContext.current?.trace else { return [:] }
    return ["trace_id": "\(trace.traceID)", "span_id": "\(trace.spanID)"]
  }

  /// The `traceparent` of the current span; nil if there is none.
  package static var current: String? { InstrumentationContext.current?.trace?.traceParent }
}
