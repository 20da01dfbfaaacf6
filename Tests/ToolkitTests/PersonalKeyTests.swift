import EventSourcing
import Failures
import Foundation
import Postgres
import TestSupport
import Testing

@testable import PostgresEventStore

@Suite("Keys of persons", .needsServers)
struct PersonalKeyTests {
  /// The base64 of 32 bytes of that value.
  private static func key(_ byte: UInt8) -> String { Data(repeating: byte, count: 32).base64EncodedString() }

  @Test(
    "A key names the history of the store that had it, so that data which it sealed gets into no other",
    .freshDatabase(eventStoreSchema, personalSchema))
  func history() async throws {
    let owner = try await FreshDatabase.current.connect()
    let keys = PersonalKeys(FreshDatabase.current.pool())
    let first = try #require(try await keys.key(of: "ada"))
    #expect(try await keys.keys(of: ["ada", "bob"]).mapValues(\.historyID) == ["ada": first.historyID])
    let restored = try await PostgresEventStore.declareRestored(losingNothing: false, owner)
    #expect(restored.historyID != first.historyID)
    #expect(try await keys.key(of: "ada")?.historyID == restored.historyID)
    #expect(try await keys.keys(of: ["ada"])["ada"]?.historyID == restored.historyID)
  }

  @Test(
    "Keys are wrapped again by another key, and what was sealed can be opened before and after",
    .freshDatabase(eventStoreSchema, personalSchema))
  func rotation() async throws {
    let pool = FreshDatabase.current.pool()
    let (first, both, second) = (
      try KeyEncryptionKeys("a:\(Self.key(1))"), try KeyEncryptionKeys("b:\(Self.key(2))\na:\(Self.key(1))"),
      try KeyEncryptionKeys("b:\(Self.key(2))")
    )
    let custody = PersonalKeyCustody(pool)
    func sealed(_ person: String, _ keys: KeyEncryptionKeys) async throws -> String {
      try #require(try await PersonalKeys(pool, keys).key(of: person)).seal(Array(person.utf8), of: person)
    }
    func opens(_ texts: [String: String], _ keys: KeyEncryptionKeys) async throws {
      let found = try await PersonalKeys(pool, keys).keys(of: Array(texts.keys))
      for (person, text) in texts { #expect(try found[person]?.open(text, of: person) == Array(person.utf8)) }
    }
    var texts = ["ada": try await sealed("ada", .none), "bob": try await sealed("bob", .none)]
    texts["eve"] = try await sealed("eve", first)
    try await opens(texts, first)
    // More than one batch.
    try await pool.query(
      "insert into personal.keys (person, key) select 'p' || g, sha256(g::text::bytea) from generate_series(1, 1200) g")
    try await pool.query("update personal.keys set key = null, erased_at = now() where person = 'p7'")
    #expect(
      try await custody.counts() == [
        PersonalKeyCustody.Count(id: nil, keys: 1201), PersonalKeyCustody.Count(id: "a", keys: 1),
      ])
    #expect(try await custody.rewrap(first) == 1201)
    try await opens(texts, first)
    #expect(try await custody.rewrap(both) == 1202)
    #expect(try await custody.rewrap(both) == 0)
    #expect(try await custody.counts() == [PersonalKeyCustody.Count(id: "b", keys: 1202)])
    try await opens(texts, second)
    #expect(try await PersonalKeys(pool, second).key(of: "p7") == nil)
    // What is stored holds no key that opens anything.
    let plain = try #require(texts["ada"])
    let stored = try await pool.query("select key from personal.keys where person = 'ada'").value(PostgresBytes.self)
    #expect(stored.bytes.count == 63)
    #expect(throws: SealError.self) {
      try PersonalKey(Array(stored.bytes.suffix(32)), in: UUID()).open(plain, of: "ada")
    }
    // And back.
    #expect(try await custody.rewrap(KeyEncryptionKeys("plain b:\(Self.key(2))")) == 1202)
    try await opens(texts, .none)
  }

  @Test(
    "A person whose key cannot be unwrapped is not erased: the work is tried again",
    .freshDatabase(eventStoreSchema, personalSchema))
  func unknownKey() async throws {
    let pool = FreshDatabase.current.pool()
    let owner = PersonalKeys(pool, try KeyEncryptionKeys("a:\(Self.key(1))"))
    for person in ["ada", "bob"] { _ = try await owner.key(of: person) }
    // Without the key, with another one, and with another one of the same name.
    for text in ["", "b:\(Self.key(2))", "a:\(Self.key(2))"] {
      let others = PersonalKeys(pool, try text.isEmpty ? .none : KeyEncryptionKeys(text))
      await #expect {
        _ = try await others.keys(of: ["ada"])
      } throws: { FailureKind($0) == .retry && "\($0)".contains("PERSONAL_KEY") && !"\($0)".contains(Self.key(1)) }
      await #expect(throws: UnreadablePersonalKey.self) { _ = try await others.key(of: "ada") }
    }
    #expect(try await owner.keys(of: ["ada", "bob"]).count == 2)
    // The key of one person is not accepted as another's.
    try await pool.query(
      "update personal.keys set key = (select key from personal.keys where person = 'bob') where person = 'ada'")
    await #expect(throws: UnreadablePersonalKey.self) { _ = try await owner.keys(of: ["ada"]) }
    #expect(try await owner.keys(of: ["bob"]).count == 1)
  }

  @Test("A text that is no set of keys is rejected, and the reason contains no key")
  func parsing() throws {
    let key = Self.key(9)
    for wrong in [
      "", "plain", "a", key, "a:", "a:\(key)=", ":\(key)", "ä:\(key)", "a:\(Data(count: 16).base64EncodedString())",
      "a:\(key) a:\(key)", "a:\(key) plain", "plain:\(key)", "\(String(repeating: "i", count: 65)):\(key)",
    ] {
      #expect {
        _ = try KeyEncryptionKeys(wrong)
      } throws: {
        !"\($0)".contains(key)
      }
    }
    let keys = try KeyEncryptionKeys(" 2026-11.x_1:\(key)\n\n  b:\(Self.key(1)) ")
    #expect(keys.wrappingID == "2026-11.x_1" && keys.knows("b") && keys.knows(nil) && !keys.knows("c"))
  }
}
