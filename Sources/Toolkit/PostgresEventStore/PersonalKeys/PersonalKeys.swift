internal import Crypto
public import Failures
internal import FoundationEssentials
public import Postgres

/// The keys of personal data: in the write store, beside the events. Needs the schema of the event store.
public let personalSchema = Schema(
  name: "personal",
  migrations: [
    Migration(version: 1, name: "keys", sql: String(decoding: PackageResources.v0001_keys_sql, as: UTF8.self))
  ],
  afterwards: [String(decoding: PackageResources.personal_privileges_sql, as: UTF8.self)])

/// One person's key. What is sealed with it (AES-256 in GCM, the person's id as further data) nobody else opens.
public struct PersonalKey: Sendable {
  private let key: SymmetricKey

  init(_ bytes: [UInt8]) { key = SymmetricKey(data: bytes) }

  /// - Returns: base64 of nonce, ciphertext and tag; another one each time.
  public func seal(_ bytes: [UInt8], of person: String) throws -> String {
    let box = try AES.GCM.seal(bytes, using: key, authenticating: Array(person.utf8))
    guard let combined = box.combined else { throw SealError(reason: "there is no nonce of the usual size") }
    return combined.base64EncodedString()
  }

  /// - Throws: `SealError` for what was sealed with another key, or of another person.
  public func open(_ sealed: String, of person: String) throws(SealError) -> [UInt8] {
    guard let combined = Data(base64Encoded: sealed) else { throw SealError(reason: "it is no base64") }
    do {
      let box = try AES.GCM.SealedBox(combined: combined)
      return Array(try AES.GCM.open(box, using: key, authenticating: Array(person.utf8)))
    } catch { throw SealError(reason: "\(error)") }
  }
}

/// What is sealed cannot be opened with this person's key: what holds it is at fault.
public struct SealError: ClassifiedError, CustomStringConvertible {
  let reason: String
  public var failureKind: FailureKind { .refused }
  public var description: String { "what is sealed cannot be opened: \(reason)" }
}

/// The keys of persons. A person whose key was erased has none, and gets no other.
public struct PersonalKeys: Sendable {
  private let pool: PostgresPool

  /// - Parameter writeStore: where the events are.
  public init(_ writeStore: PostgresPool) { pool = writeStore }

  /// The person's key, made where there is none yet; nil where it was erased.
  public func key(of person: String) async throws -> PersonalKey? {
    let fresh = SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }
    let rows = try await pool.query(
      """
      with made as (
        insert into personal.keys (person, key) values (\(person), \(PostgresBytes(fresh))) on conflict do nothing returning key)
      select key from made union all select key from personal.keys where person = \(person)
      """
    ).decode(PostgresBytes?.self)
    // Another one made it at this moment, unseen by the statement.
    guard let first = rows.first else { return try await keys(of: [person])[person] }
    return first.map { PersonalKey($0.bytes) }
  }

  /// Takes back a key that nothing was sealed with.
  /// - Parameters:
  ///   - person: one whose id nobody else has: a command under way might need the key.
  ///   - stream: of the person's events; where it is there, the key stays.
  public func discard(of person: String, events stream: String) async throws {
    try await pool.query("select personal.discard_key(\(person), \(stream))")
  }

  /// The keys that are there; of nobody else.
  public func keys(of persons: some Collection<String>) async throws -> [String: PersonalKey] {
    guard !persons.isEmpty else { return [:] }
    let rows = try await pool.query(
      "select person, key from personal.keys where person = any(\(array: Array(persons))) and key is not null"
    ).decode((String, PostgresBytes).self)
    return Dictionary(uniqueKeysWithValues: rows.map { ($0.0, PersonalKey($0.1.bytes)) })
  }
}
