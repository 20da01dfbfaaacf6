/// A text that equals another only if both have the same UTF-8, as in PostgreSQL and in hashes. `String` treats all
/// Unicode spellings of an accented letter as equal, so two streams, or two rows, would become one.
public struct ExactText: Hashable, Sendable, CustomStringConvertible {
  /// The text.
  public let text: String

  /// Wraps a text.
  public init(_ text: String) { self.text = text }

  public var description: String { text }

  public static func == (a: ExactText, b: ExactText) -> Bool {
    a.withBytes { bytes in b.withBytes { bytes.elementsEqual($0) } }
  }

  public func hash(into hasher: inout Hasher) { withBytes { hasher.combine(bytes: UnsafeRawBufferPointer($0)) } }

  private func withBytes<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
    if let result = text.utf8.withContiguousStorageIfAvailable(body) { return result }
    // A bridged string has no contiguous UTF-8 and must be copied.
    var own = text
    return own.withUTF8(body)
  }
}
