public import Logging
internal import Tracing

/// Spans of what was done for events and commands whose trace is known, at no cost where nobody traces.
public enum Traces {
  /// For log lines.
  public static let metadata = Logger.MetadataProvider {
    guard let trace = InstrumentationContext.current?.trace else { return [:] }
    return ["trace_id": "\(trace.traceID)", "span_id": "\(trace.spanID)"]
  }

  /// The `traceparent` of the span that goes on; nil for none.
  public static var current: String? { InstrumentationContext.current?.trace?.traceParent }
}
