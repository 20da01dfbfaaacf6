public import FoundationEssentials

/// Identifies one request of one caller, so that it takes effect once even if the client sends it several times.
public struct IdempotencyKey: Hashable, Sendable, CustomStringConvertible {
  /// The allowed length of a key, in bytes of UTF-8. A scope has 0 to 255 bytes.
  public static let lengths = 1...255

  /// The caller. Two callers may use the same key for different requests.
  public let scope: String
  /// The key that the client chose.
  public let key: String

  /// Creates a key.
  /// - Precondition: Both lengths are within their bounds. Check keys from outside first.
  public init(scope: String, key: String) {
    precondition(Self.lengths.contains(key.utf8.count) && scope.utf8.count <= 255, "a key has 1 to 255 bytes")
    self.scope = scope
    self.key = key
  }

  public var description: String { key }
}

/// The response to a command, in UTF-8. The store keeps it with the command's key and does not interpret it.
///
/// If the response contains a position that is known only after the append, its text has `positionMark` in that place,
/// and `offset` says which of the batch's events it belongs to.
public struct ResponseTemplate: Sendable, Hashable {
  /// The byte that stands for the position.
  public static let positionMark: UInt8 = 1

  /// The response in UTF-8, with `positionMark` where the position is to be written.
  public let text: [UInt8]
  /// The index of that event in the batch, from 0.
  public let offset: Int?

  /// Creates a template.
  /// - Parameters:
  ///   - text: The response in UTF-8.
  ///   - offset: The index in the batch of the event whose position the text has, from 0; nil if it has none.
  public init(_ text: [UInt8], offset: Int? = nil) {
    self.text = text
    self.offset = offset
  }

  /// Returns the response as it is stored and sent.
  /// - Parameter first: The position of the batch's first event.
  public func text(first: Position) -> [UInt8] {
    guard let offset else { return text }
    let position = Array(String(first.rawValue + Int64(offset)).utf8)
    return text.reduce(into: []) { text, byte in
      if byte == Self.positionMark { text += position } else { text.append(byte) }
    }
  }
}

/// A stored response, with the fingerprint of its request.
public struct StoredResponse: Sendable, Hashable {
  /// The fingerprint of the request that the response belongs to.
  public let fingerprint: UUID
  /// The response in UTF-8.
  public let text: [UInt8]

  /// Creates a stored response.
  public init(fingerprint: UUID, text: [UInt8]) {
    self.fingerprint = fingerprint
    self.text = text
  }
}
