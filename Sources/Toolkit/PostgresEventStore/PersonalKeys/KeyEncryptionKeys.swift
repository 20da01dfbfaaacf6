internal import Crypto
package import Failures
internal import FoundationEssentials

/// The keys that wrap the keys of persons, so that the write store and its backups hold no key that opens anything.
///
/// A wrapped key names the key-encryption key that wraps it. So several may be in use at once, and one is replaced
/// without a change to an event: only the keys of persons are wrapped again (`PersonalKeyCustody.rewrap`).
package struct KeyEncryptionKeys: Sendable {
  /// The reason why a text is no set of keys. It never contains a key.
  package struct Unusable: Error, CustomStringConvertible {
    package let description: String
  }

  /// No key: the keys of persons are stored as they are.
  package static let none = KeyEncryptionKeys()

  /// The id that stands for no wrapping.
  package static let plain = "plain"
  private static let longestID = 64
  /// The length of a key, in bytes, both of a person and of those that wrap.
  private static let keySize = 32

  /// The id of the key that wraps; nil if the keys of persons are stored as they are.
  package let wrappingID: String?
  private let keys: [String: SymmetricKey]

  /// Whether there is no key.
  package var isEmpty: Bool { keys.isEmpty }

  private init() { (wrappingID, keys) = (nil, [:]) }

  /// Reads keys from a text.
  /// - Parameter text: `ID:KEY` for each key, with white space between. The id has 1 to 64 letters, digits, hyphens,
  ///   dots and underscores. The key has 32 bytes, in base64. The first one wraps; the others only unwrap. If the first
  ///   one is `plain`, the keys of persons are stored as they are.
  package init(_ text: String) throws(Unusable) {
    var (keys, first) = ([String: SymmetricKey](), String?.none)
    let entries = text.split(whereSeparator: \.isWhitespace)
    for (index, entry) in entries.enumerated() {
      if entry == Self.plain {
        guard index == 0 else { throw Unusable(description: "plain is not the first entry") }
        continue
      }
      let parts = entry.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2 else { throw Unusable(description: "entry \(index + 1) is not ID:KEY") }
      let id = String(parts[0])
      guard Self.isID(id) else {
        throw Unusable(description: "the id of entry \(index + 1) does not have 1 to 64 of A-Z a-z 0-9 - . _")
      }
      guard let bytes = Data(base64Encoded: String(parts[1])), bytes.count == Self.keySize,
        bytes.base64EncodedString() == parts[1]
      else {
        throw Unusable(description: "the key of entry \(index + 1) is not the base64 of 32 bytes")
      }
      guard keys[id] == nil else { throw Unusable(description: "two keys have the id \(id)") }
      keys[id] = SymmetricKey(data: bytes)
      if index == 0 { first = id }
    }
    guard !keys.isEmpty else { throw Unusable(description: "there is no key") }
    (self.keys, wrappingID) = (keys, first)
  }

  private static func isID(_ text: String) -> Bool {
    (1...longestID).contains(text.utf8.count) && text != plain
      && text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
          true
        default: false
        }
      }
  }

  /// Whether keys that the key-encryption key with this id wraps can be unwrapped; nil stands for keys that are stored
  /// as they are.
  package func knows(_ id: String?) -> Bool { id.map { keys[$0] != nil } ?? true }

  /// Returns a person's key as it is stored.
  func wrap(_ key: [UInt8], of person: String) throws -> [UInt8] {
    guard let wrappingID, let wrapping = keys[wrappingID] else { return key }
    let header = WrappedKey.header(wrappingID)
    let box = try AES.GCM.seal(key, using: wrapping, authenticating: header + Array(person.utf8))
    guard let combined = box.combined else { throw SealError(reason: "there is no nonce of the usual size") }
    return header + combined
  }

  /// Returns a person's key from what is stored.
  /// - Throws: `UnreadablePersonalKey` if it cannot be unwrapped.
  func unwrap(_ stored: [UInt8], of person: String) throws(UnreadablePersonalKey) -> [UInt8] {
    // No wrapped key is as short.
    if stored.count == Self.keySize { return stored }
    guard let wrapped = WrappedKey(stored) else {
      throw UnreadablePersonalKey(reason: "a personal key is stored in a form that this build does not know")
    }
    guard let key = keys[wrapped.id] else {
      throw UnreadablePersonalKey(
        reason: "a personal key is wrapped by the key-encryption key \(wrapped.id), which this process does not have: "
          + "add it to PERSONAL_KEY, or to what PERSONAL_KEY_COMMAND prints")
    }
    do {
      let box = try AES.GCM.SealedBox(combined: wrapped.sealed)
      let bytes = try AES.GCM.open(box, using: key, authenticating: wrapped.header + Array(person.utf8))
      guard bytes.count == Self.keySize else { throw CryptoKitError.incorrectKeySize }
      return Array(bytes)
    } catch {
      throw UnreadablePersonalKey(
        reason: "a personal key cannot be unwrapped with the key-encryption key \(wrapped.id): PERSONAL_KEY has "
          + "another key with this id, or the row was changed (\(error))")
    }
  }
}

/// A wrapped key in its parts: a byte for the form, a byte for the length of the id, the id, and nonce, ciphertext and
/// tag of AES-256 in GCM. The header and the person's id are authenticated.
private struct WrappedKey {
  private static let form: UInt8 = 1

  let id: String
  let header: [UInt8]
  let sealed: [UInt8]

  init?(_ stored: [UInt8]) {
    guard stored.count > 2, stored[0] == Self.form, stored.count > 2 + Int(stored[1]) else { return nil }
    let end = 2 + Int(stored[1])
    (header, sealed) = (Array(stored[..<end]), Array(stored[end...]))
    id = String(decoding: stored[2..<end], as: UTF8.self)
  }

  /// - Parameter id: at most 64 bytes.
  static func header(_ id: String) -> [UInt8] { [form, UInt8(id.utf8.count)] + Array(id.utf8) }
}

/// A person's key is there, and this process cannot unwrap it. The person is not erased: the same work succeeds once the
/// process has the key-encryption key.
package struct UnreadablePersonalKey: ClassifiedError, CustomStringConvertible {
  let reason: String
  package var failureKind: FailureKind { .retry }
  package var description: String { reason }
}
