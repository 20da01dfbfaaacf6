internal import Crypto
package import EventSourcing
package import FoundationEssentials

/// Names streams and the position of each when a command was answered, so that a query can wait for them.
///
/// The token is signed and belongs to one history. It is the base64url of a version (1 byte), the store's history id
/// (16 bytes), the whole hash (8 bytes) and position (8 bytes) of each stream, and the first 16 bytes of an HMAC-SHA256
/// over all of these.
package struct ConsistencyToken: Sendable, Hashable {
  /// A stream, and how far a query must have read it.
  package struct Entry: Sendable, Hashable {
    /// The `StreamID.wideHash` of the stream.
    package let stream: UInt64
    /// The position of the last event to wait for.
    package let position: Position

    /// Creates an entry.
    /// - Parameters:
    ///   - stream: The `StreamID.wideHash` of the stream.
    ///   - position: The position of the last event to wait for.
    package init(stream: UInt64, position: Position) {
      self.stream = stream
      self.position = position
    }
  }

  /// The secret that signs the tokens of one system. Tokens with another signature are rejected.
  package struct Key: Sendable {
    let key: SymmetricKey

    /// Creates a key from a secret.
    /// - Parameter secret: 32 bytes or more, the same for all services.
    package init(_ secret: some Sequence<UInt8>) { key = SymmetricKey(data: Array(secret)) }
  }

  /// The text is not a token that the key signed.
  package struct Malformed: Error {}

  private static let version: UInt8 = 1
  private static let head = 17
  private static let entrySize = 16
  private static let signatureSize = 16
  /// The maximum number of streams in a token.
  package static let limit = 1_000

  /// The history id that the positions belong to.
  package let historyID: UUID
  /// The streams to wait for.
  package let entries: [Entry]

  /// Creates a token.
  package init(historyID: UUID, entries: [Entry]) {
    self.historyID = historyID
    self.entries = entries
  }

  /// Returns the token as clients send it.
  /// - Parameter key: The key of `CONSISTENCY_TOKEN_KEY`.
  package func signed(with key: Key) -> String {
    var bytes: [UInt8] = [Self.version]
    bytes.reserveCapacity(Self.head + entries.count * Self.entrySize + Self.signatureSize)
    withUnsafeBytes(of: historyID.uuid) { bytes += $0 }
    for entry in entries {
      withUnsafeBytes(of: entry.stream.bigEndian) { bytes += $0 }
      withUnsafeBytes(of: entry.position.rawValue.bigEndian) { bytes += $0 }
    }
    bytes += HMAC<SHA256>.authenticationCode(for: bytes, using: key.key).prefix(Self.signatureSize)
    return Base64URL.encode(bytes)
  }

  /// Reads a token, and checks its signature.
  /// - Throws: `Malformed` if `signed(with:)` did not make the text with this key.
  package init(_ text: String, signedWith key: Key) throws(Malformed) {
    guard text.utf8.count <= 2 * (Self.head + Self.limit * Self.entrySize), let bytes = Base64URL.decode(text)
    else { throw Malformed() }
    let count = (bytes.count - Self.head - Self.signatureSize) / Self.entrySize
    guard count >= 0, bytes.count == Self.head + count * Self.entrySize + Self.signatureSize, bytes[0] == Self.version
    else { throw Malformed() }
    let (signed, signature) = (bytes.dropLast(Self.signatureSize), bytes.suffix(Self.signatureSize))
    let expected = HMAC<SHA256>.authenticationCode(for: signed, using: key.key).prefix(Self.signatureSize)
    guard zip(expected, signature).reduce(0, { $0 | ($1.0 ^ $1.1) }) == 0 else { throw Malformed() }
    func integer(at offset: Int) -> UInt64 { bytes[offset..<offset + 8].reduce(0) { $0 << 8 | UInt64($1) } }
    historyID = bytes.withUnsafeBytes { UUID(uuid: $0.loadUnaligned(fromByteOffset: 1, as: uuid_t.self)) }
    entries = (0..<count).map { index in
      let offset = Self.head + index * Self.entrySize
      return Entry(stream: integer(at: offset), position: Position(Int64(bitPattern: integer(at: offset + 8))))
    }
  }
}
