/// A text that equals another one where their UTF-8 does, as in PostgreSQL and in hashes. To `String` an accented letter is the same
/// in each of its spellings, so that two streams, or two rows, would be one.
public struct ExactText: Hashable, Sendable, CustomStringConvertible {
  public let text: String

  public init(_ text: String) { self.text = text }

  public var description: String { text }

  public static func == (a: ExactText, b: ExactText) -> Bool {
    a.withBytes { bytes in b.withBytes { bytes.elementsEqual($0) } }
  }

  public func hash(into hasher: inout Hasher) { withBytes { hasher.combine(bytes: UnsafeRawBufferPointer($0)) } }

  private func withBytes<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
    if let result = text.utf8.withContiguousStorageIfAvailable(body) { return result }
    // One of another system's, which is copied.
    var own = text
    return own.withUTF8(body)
  }
}
