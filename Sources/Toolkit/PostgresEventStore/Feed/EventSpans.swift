package import EventSourcing
internal import JSON
package import Tracing

/// Records spans for events whose metadata names a trace. Without a tracer it does nothing.
package struct EventSpans: Sendable {
  private let isOn = !(InstrumentationSystem.tracer is NoOpTracer)

  package init() {}

  /// - Parameter begun: when the work on all of these events began; it ends now.
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
  /// The `traceparent` (W3C Trace Context, section 3.2); nil if the event was recorded outside any trace.
  package var traceParent: String? {
    guard metadata.contains(Self.name) else { return nil }
    return (try? JSON(parsing: metadata))?["traceparent"]?.string
  }

  private static let name = Array("\"traceparent\"".utf8)
}
