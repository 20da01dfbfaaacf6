internal import FoundationEssentials
internal import JSON
internal import Machine
internal import Synchronization
package import Tracing

/// A tracer that sends its spans to a collector, as OTLP over HTTP with JSON (OpenTelemetry Protocol 1.x).
package final class OTLPTracer: Tracer {
  private let exporter: SpanExporter
  /// The share of traces that begin here and are sampled, 0 to 1. Traces from elsewhere say whether they are sampled.
  private let ratio: Double

  /// - Parameter ratio: the share of traces that begin here and are sampled, 0 to 1.
  package init(_ exporter: SpanExporter, ratio: Double) { (self.exporter, self.ratio) = (exporter, ratio) }

  package func startSpan<Instant: TracerInstant>(
    _ operationName: String, context: @autoclosure () -> InstrumentationContext, ofKind kind: SpanKind,
    at instant: @autoclosure () -> Instant, function: String, file fileID: String, line: UInt
  ) -> OTLPSpan {
    var context = context()
    let parent = context.trace
    var chance = Machine.chance
    let isSampled = parent?.isSampled ?? (ratio >= 1 || Double.random(in: 0..<1, using: &chance) < ratio)
    context.trace = TraceContext(
      traceID: parent?.traceID ?? TraceContext.hex(32), spanID: TraceContext.hex(16), isSampled: isSampled)
    return OTLPSpan(
      operationName, kind, context, parent: parent?.spanID, start: instant().nanosecondsSinceEpoch,
      exporter: isSampled ? exporter : nil)
  }

  package func startAnySpan<Instant: TracerInstant>(
    _ operationName: String, context: @autoclosure () -> InstrumentationContext, ofKind kind: SpanKind,
    at instant: @autoclosure () -> Instant, function: String, file fileID: String, line: UInt
  ) -> any Tracing.Span {
    startSpan(
      operationName, context: context(), ofKind: kind, at: instant(), function: function, file: fileID, line: line)
  }

  package func forceFlush() {}

  private static let traceParent = "traceparent"

  package func extract<Carrier, Extract: Extractor>(
    _ carrier: Carrier, into context: inout InstrumentationContext, using extractor: Extract
  ) where Extract.Carrier == Carrier {
    if let text = extractor.extract(key: Self.traceParent, from: carrier) { context.trace = TraceContext(text) }
  }

  package func inject<Carrier, Inject: Injector>(
    _ context: InstrumentationContext, into carrier: inout Carrier, using injector: Inject
  ) where Inject.Carrier == Carrier {
    if let trace = context.trace { injector.inject(trace.traceParent, forKey: Self.traceParent, into: &carrier) }
  }
}

/// A span that is exported when it ends, if its trace is sampled.
package final class OTLPSpan: Tracing.Span {
  private struct State {
    var name: String
    var attributes: SpanAttributes = [:]
    var status: SpanStatus?
    var error: String?
    var isOver = false
  }

  package let context: InstrumentationContext
  private let kind: SpanKind
  private let parent: String?
  private let start: UInt64
  private let exporter: SpanExporter?
  private let state: Mutex<State>

  init(
    _ name: String, _ kind: SpanKind, _ context: InstrumentationContext, parent: String?, start: UInt64,
    exporter: SpanExporter?
  ) {
    (self.kind, self.context, self.parent, self.start, self.exporter) = (kind, context, parent, start, exporter)
    state = Mutex(State(name: name))
  }

  package var operationName: String {
    get { state.withLock { $0.name } }
    set { state.withLock { $0.name = newValue } }
  }

  package var attributes: SpanAttributes {
    get { state.withLock { $0.attributes } }
    set { state.withLock { $0.attributes = newValue } }
  }

  package var isRecording: Bool { exporter != nil && !state.withLock { $0.isOver } }
  package func setStatus(_ status: SpanStatus) { state.withLock { $0.status = status } }
  package func addEvent(_ event: SpanEvent) {}
  package func addLink(_ link: SpanLink) {}

  package func recordError<Instant: TracerInstant>(
    _ error: any Error, attributes: SpanAttributes, at instant: @autoclosure () -> Instant
  ) {
    // Only the error's type: its message may contain data of a request.
    let type = "\(type(of: error))"
    state.withLock { $0.error = type }
  }

  package func end<Instant: TracerInstant>(at instant: @autoclosure () -> Instant) {
    guard let exporter else { return }
    let end = instant().nanosecondsSinceEpoch
    let text = state.withLock { state -> [UInt8]? in
      guard !state.isOver else { return nil }
      state.isOver = true
      return encoded(state, end)
    }
    if let text { exporter.add(text) }
  }

  private func encoded(_ state: State, _ end: UInt64) -> [UInt8] {
    var json = JSONWriter(reserving: 400)
    let trace = context.trace!
    json.object { json in
      json.member("traceId", trace.traceID)
      json.member("spanId", trace.spanID)
      json.member("parentSpanId", ifPresent: parent)
      json.member("name", state.name)
      json.member("kind", Self.number(kind))
      // 64-bit integers are strings in protobuf's JSON.
      json.member("startTimeUnixNano", String(start))
      json.member("endTimeUnixNano", String(Swift.max(start, end)))
      json.member("attributes") { json in
        var pairs: [(String, SpanAttribute)] = []
        state.attributes.forEach { pairs.append(($0, $1)) }
        if let error = state.error { pairs.append(("error.type", .string(error))) }
        json.array(pairs.sorted { $0.0 < $1.0 }) { json, pair in
          json.object { json in
            json.member("key", pair.0)
            json.member("value") { Self.write(pair.1, to: &$0) }
          }
        }
      }
      json.member("status") { json in
        json.object { json in
          switch state.status?.code {
          case .ok: json.member("code", 1)
          case .error: json.member("code", 2)
          case nil: if state.error != nil { json.member("code", 2) }
          }
        }
      }
    }
    return json.bytes
  }

  private static func number(_ kind: SpanKind) -> Int {
    switch kind {
    case .internal: 1
    case .server: 2
    case .client: 3
    case .producer: 4
    case .consumer: 5
    }
  }

  private static func write(_ attribute: SpanAttribute, to json: inout JSONWriter) {
    json.object { json in
      switch attribute {
      case .int32(let value): json.member("intValue", String(value))
      case .int64(let value): json.member("intValue", String(value))
      case .bool(let value): json.member("boolValue", value)
      case .double(let value): json.member("doubleValue") { $0.write(JSON.number(value)) }
      case .string(let value): json.member("stringValue", value)
      case .stringConvertible(let value): json.member("stringValue", value.description)
      default: json.member("stringValue", "\(attribute)")
      }
    }
  }
}
