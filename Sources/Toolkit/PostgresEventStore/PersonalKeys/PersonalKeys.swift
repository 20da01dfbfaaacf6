internal import Crypto
public import Failures
public import FoundationEssentials
public import Postgres

/// The schema with the keys of personal data. It is in the write store, and needs the event store's schema.
public let personalSchema = Schema(
  name: "personal",
  migrations: [
    Migration(version: 1, name: "keys", sql: String(decoding: PackageResources.v0001_keys_sql, as: UTF8.self)),
    Migration(
      version: 2, name: "wrapped keys", sql: String(decoding: PackageResources.v0002_wrapped_keys_sql, as: UTF8.self)),
    Migration(
      version: 3, name: "erasures", sql: String(decoding: PackageResources.v0003_erasures_sql, as: UTF8.self)),
  ],
  afterwards: [String(decoding: PackageResources.personal_privileges_sql, as: UTF8.self)])

/// The key of one person, for AES-256 in GCM with the person's id as additional data. Without it, sealed data cannot be
/// read.
public struct PersonalKey: Sendable {
  private let key: SymmetricKey
  /// The history of the store that had the key. After a restore the store may have another key of the person. So a command
  /// with data that this key sealed must be carried out in this history only.
  public let historyID: UUID

  package init(_ bytes: [UInt8], in historyID: UUID) {
    key = SymmetricKey(data: bytes)
    self.historyID = historyID
  }

  /// Seals data of a person.
  /// - Returns: base64 of nonce, ciphertext and tag. It is different each time.
  public func seal(_ bytes: [UInt8], of person: String) throws -> String {
    let box = try AES.GCM.seal(bytes, using: key, authenticating: Array(person.utf8))
    guard let combined = box.combined else { throw SealError(reason: "there is no nonce of the usual size") }
    return combined.base64EncodedString()
  }

  /// Opens what `seal` returned.
  /// - Throws: `SealError` if it was sealed with another key, or for another person.
  public func open(_ sealed: String, of person: String) throws(SealError) -> [UInt8] {
    guard let combined = Data(base64Encoded: sealed) else { throw SealError(reason: "it is no base64") }
    do {
      let box = try AES.GCM.SealedBox(combined: combined)
      return Array(try AES.GCM.open(box, using: key, authenticating: Array(person.utf8)))
    } catch { throw SealError(reason: "\(error)") }
  }
}

/// Sealed data cannot be opened with this person's key. The event that holds it is at fault.
public struct SealError: ClassifiedError, CustomStringConvertible {
  let reason: String
  public var failureKind: FailureKind { .refused }
  public var description: String { "what is sealed cannot be opened: \(reason)" }
}

/// The keys of all persons. A person whose key was erased never gets another one.
///
/// An event of the type `PersonalDataErased`, in a stream of any category, erases the key of the person that the
/// stream's id names, in the transaction that appends the event.
public struct PersonalKeys: Sendable {
  private let table: any PersonalKeyTable
  private let encryption: KeyEncryptionKeys

  /// Keys that are stored as they are.
  /// - Parameter writeStore: a pool on the write store.
  public init(_ writeStore: PostgresPool) { self.init(writeStore, .none) }

  /// - Parameters:
  ///   - writeStore: a pool on the write store.
  ///   - encryption: wraps the keys.
  package init(_ writeStore: PostgresPool, _ encryption: KeyEncryptionKeys) {
    self.init(PostgresPersonalKeys(writeStore), encryption)
  }

  package init(_ table: any PersonalKeyTable, _ encryption: KeyEncryptionKeys = .none) {
    (self.table, self.encryption) = (table, encryption)
  }

  /// Returns the person's key, and makes it if there is none yet; nil if it was erased.
  /// - Throws: an error of the kind `retry` if this process cannot unwrap the key.
  public func key(of person: String) async throws -> PersonalKey? {
    let fresh = SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }
    return try await table.add(encryption.wrap(fresh, of: person), of: person)
      .map { PersonalKey(try encryption.unwrap($0.bytes, of: person), in: $0.historyID) }
  }

  /// Removes a key that nothing was sealed with.
  /// - Parameters:
  ///   - person: an id that nobody else knows. Otherwise a command in progress might need the key.
  ///   - stream: the stream of the person's events. If it exists, the key stays.
  public func discard(of person: String, events stream: String) async throws {
    try await table.discard(of: person, events: stream)
  }

  /// Returns the keys of those persons that have one.
  /// - Throws: an error of the kind `retry` if this process cannot unwrap one of the keys.
  public func keys(of persons: some Collection<String>) async throws -> [String: PersonalKey] {
    guard !persons.isEmpty else { return [:] }
    return Dictionary(
      uniqueKeysWithValues: try await table.keys(of: Array(persons)).map { person, stored in
        (person, PersonalKey(try encryption.unwrap(stored.bytes, of: person), in: stored.historyID))
      })
  }
}
