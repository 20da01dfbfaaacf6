internal import Machine
package import Tracing

/// Identifies a span across processes (W3C Trace Context, section 3.2).
package struct TraceContext: Sendable, Hashable {
  /// 32 hexadecimal digits.
  package let traceID: String
  /// 16 hexadecimal digits.
  package let spanID: String
  /// Whether spans of this trace are exported.
  package let isSampled: Bool

  init(traceID: String, spanID: String, isSampled: Bool) {
    (self.traceID, self.spanID, self.isSampled) = (traceID, spanID, isSampled)
  }

  /// Fails for text that is malformed, or whose ids are zero.
  /// - Parameter text: a `traceparent`.
  package init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    func isHex(_ part: some StringProtocol, _ count: Int) -> Bool {
      part.utf8.count == count
        && part.utf8.allSatisfy {
          (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
        }
    }
    guard parts.count >= 4, isHex(parts[0], 2), parts[0] != "ff", parts[0] != "00" || parts.count == 4,
      isHex(parts[1], 32), isHex(parts[2], 16), isHex(parts[3], 2), parts[1].contains(where: { $0 != "0" }),
      parts[2].contains(where: { $0 != "0" }), let flags = UInt8(parts[3], radix: 16)
    else { return nil }
    self.init(traceID: String(parts[1]), spanID: String(parts[2]), isSampled: flags & 1 == 1)
  }

  /// The context as a `traceparent`.
  package var traceParent: String { "00-\(traceID)-\(spanID)-\(isSampled ? "01" : "00")" }

  static func hex(_ count: Int) -> String {
    var text = ""
    repeat {
      text = (0..<count / 16).map { _ in
        let digits = String(Machine.chance.next(), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
      }.joined()
    } while text.allSatisfy { $0 == "0" }
    return text
  }
}

extension InstrumentationContext {
  private enum Key: InstrumentationContextKey {
    typealias Value = TraceContext
    static var nameOverride: String? { "trace" }
  }

  /// The current span; nil if there is none.
  package var trace: TraceContext? {
    get { self[Key.self] }
    set { self[Key.self] = newValue }
  }
}
