package import EventSourcing
internal import JSON
package import Tracing

/// Spans of what is done with events, for those whose metadata names a trace. Nothing, where nobody makes spans.
package struct EventSpans: Sendable {
  private let isOn = !(InstrumentationSystem.tracer is NoOpTracer)

  package init() {}

  /// - Parameter begun: when what was done to all of them began; it ends now.
  package func record(
    _ name: String, _ events: some Sequence<RecordedEvent>, kind: SpanKind, since begun: DefaultTracerClock.Timestamp,
    attributes: [String: String] = [:]
  ) {
    guard isOn else { return }
    let end = DefaultTracerClock.now
    for event in events {
      guard let parent = event.traceParent else { continue }
      var context = InstrumentationContext.topLevel
      InstrumentationSystem.instrument.extract(parent, into: &context, using: Parent())
      let span = startSpan(name, context: context, ofKind: kind, at: begun)
      span.updateAttributes { all in
        for (key, value) in attributes { all[key] = value }
        all["counterflow.event.type"] = event.type
        all["counterflow.event.position"] = Int(event.position.rawValue)
      }
      span.end(at: end)
    }
  }

  private struct Parent: Extractor {
    func extract(key: String, from parent: String) -> String? { key == "traceparent" ? parent : nil }
  }
}

extension RecordedEvent {
  /// W3C Trace Context, section 3.2; nil where the event was recorded outside any trace.
  package var traceParent: String? {
    guard metadata.contains(Self.name) else { return nil }
    return (try? JSON(parsing: metadata))?["traceparent"]?.string
  }

  private static let name = Array("\"traceparent\"".utf8)
}
