import EventSourcing
import Foundation
import JSON
import TestSupport
import Testing

private struct Address: Codable, Equatable {
  var street: String
  var floor: Int8?
}

private struct Person: Codable, Equatable {
  enum Role: String, Codable { case admin, guest }
  var name: String
  var role: Role
  var home: Address?
  var scores: [Double?]
  var counts: [String: UInt32]
  var born: Timestamp
  var isKnown: Bool
  var id: UUID
}

private class Animal: Codable {
  var legs: Int
  init(legs: Int) { self.legs = legs }
}

private final class Dog: Animal {
  var name: String
  init(name: String) {
    self.name = name
    super.init(legs: 4)
  }
  enum CodingKeys: CodingKey { case name }
  required init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    name = try values.decode(String.self, forKey: .name)
    try super.init(from: values.superDecoder())
  }
  override func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: CodingKeys.self)
    try values.encode(name, forKey: .name)
    try super.encode(to: values.superEncoder())
  }
}

/// Encodes into a container while a nested one is still open.
private struct Interleaved: Encodable {
  enum Keys: CodingKey { case a, b, c }
  func encode(to encoder: any Encoder) throws {
    var outer = encoder.container(keyedBy: Keys.self)
    var inner = outer.nestedContainer(keyedBy: Keys.self, forKey: .a)
    try inner.encode(1, forKey: .a)
    try outer.encode(2, forKey: .b)
    try inner.encode(3, forKey: .c)
  }
}

private struct Nothing: Codable, Equatable {}

private struct Nest: Codable {
  var inner: [Nest]

  init(depth: Int) { inner = depth == 0 ? [] : [Nest(depth: depth - 1)] }
}

private struct LimitChanged: Codable, Equatable {
  var limit: Int64
  var reason: String?
}

private enum AccountEvent: DomainEvent, Codable, Equatable {
  case opened(owner: String, limit: Int64?)
  case limitChanged(LimitChanged)
  case closed
  case moved(Nothing)

  enum CodingKeys: String, CodingKey {
    case opened = "AccountOpened", limitChanged = "AccountLimitChanged", closed, moved
  }

  static let upcasters = [Upcaster("AccountOpened", from: 1) { _ in ["owner": "nobody"] }]
}

private enum WrongEvent: DomainEvent, Codable {
  case bare(String)
  case two(Int, Int)
  case half(Int, label: Int)
}

@Suite("JSON of Codable types")
struct JSONCodingTests {
  private func encoded(_ value: some Encodable) throws -> String {
    var json = JSONWriter()
    try json.write(encoding: value)
    return json.string
  }

  private func decoded<Value: Decodable>(_ text: String, as type: Value.Type = Value.self) throws -> Value {
    try JSON(parsing: Array(text.utf8)).decode(type)
  }

  private let ada = Person(
    name: "Ada \"A\"\n", role: .admin, home: Address(street: "ü", floor: nil), scores: [1.5, nil, -2], counts: ["a": 7],
    born: Timestamp("1815-12-10T00:00:00Z")!, isKnown: true,
    id: UUID(uuidString: "01A21A02-89A8-716C-95A4-FEBA891252C8")!)

  @Test("A value is encoded in the order of its members, without absent ones, and decoded again")
  func roundTrip() throws {
    let text = try encoded(ada)
    #expect(
      text
        == #"{"name":"Ada \"A\"\n","role":"admin","home":{"street":"ü"},"scores":[1.5,null,-2.0],"counts":{"a":7},"born":"1815-12-10T00:00:00Z","isKnown":true,"id":"01A21A02-89A8-716C-95A4-FEBA891252C8"}"#
    )
    #expect(try decoded(text) == ada)
    #expect(
      try encoded([[1, 2], [], [3]]) == "[[1,2],[],[3]]" && encoded("a") == #""a""# && encoded(Nothing()) == "{}")
    #expect(try encoded([UInt64.max / 2]) == "[9223372036854775807]" && encoded([true]) == "[true]")
    #expect(try decoded("[9223372036854775807]") == [Int64.max] && decoded("1.0") == 1 && decoded("1e2") == [100][0])
    let dog = try encoded(Dog(name: "Rex"))
    #expect(dog == #"{"name":"Rex","super":{"legs":4}}"#)
    #expect(try decoded(dog, as: Dog.self).legs == 4)
  }

  @Test("Foundation decodes the same value from the encoded JSON, and the other way round")
  func againstFoundation() throws {
    var random = SplitMix(state: 20_261_127)
    let characters = Array("aé\"\\\n\u{1}𝄞/ ~")
    func text() -> String {
      String((0..<Int.random(in: 0...8, using: &random)).map { _ in characters.randomElement(using: &random)! })
    }
    for _ in 0..<500 {
      let person = Person(
        name: text(), role: Bool.random(using: &random) ? .admin : .guest,
        home: Bool.random(using: &random)
          ? nil : Address(street: text(), floor: .random(in: .min ... .max, using: &random)),
        scores: (0..<Int.random(in: 0...3, using: &random)).map { _ in
          Bool.random(using: &random) ? nil : .random(in: -1e9...1e9, using: &random)
        },
        counts: [text(): .random(in: 0 ... .max, using: &random)],
        born: Timestamp(microsecondsSince1970: .random(in: 0...4_000_000_000_000_000, using: &random)),
        isKnown: .random(using: &random), id: UUID())
      let text = try encoded(person)
      #expect(try JSONDecoder().decode(Person.self, from: Data(text.utf8)) == person)
      #expect(try decoded(text) == person)
      #expect(try decoded(String(decoding: JSONEncoder().encode(person), as: UTF8.self)) == person)
    }
  }

  @Test(
    "A decoding error says where and why",
    arguments: [
      ("{}", "/name: is missing"), ("[]", "must be an object, not an array"),
      (#"{"name":1}"#, "/name: must be a string, not a number"),
      (#"{"name":"a","role":"boss"}"#, "/role: Cannot initialize Role from invalid String value boss"),
      (#"{"name":"a","role":"admin","home":{"street":"s","floor":200}}"#, "/home/floor: must be from -128 to 127"),
      (
        #"{"name":"a","role":"admin","home":{"street":"s","floor":1.5}}"#,
        "/home/floor: must be a whole number that fits in 64 bits"
      ),
      (#"{"name":"a","role":"admin","home":{}}"#, "/home/street: is missing"),
      (#"{"name":"a","role":"admin","scores":[1,"b"]}"#, "/scores/1: must be a number, not a string"),
      (
        #"{"name":"a","role":"admin","scores":[],"counts":{"a/b~":-1}}"#, "/counts/a~1b~0: must be from 0 to 4294967295"
      ),
      (
        #"{"name":"a","role":"admin","scores":[],"counts":{},"born":"today"}"#,
        "/born: must be a time as RFC 3339 has it"
      ),
    ])
  func wrong(text: String, reason: String) throws {
    let json = try JSON(parsing: Array(text.utf8))
    #expect { try json.decode(Person.self) } throws: { "\($0)" == reason }
  }

  @Test("Values without a JSON form, or that could not be decoded again, are rejected")
  func refused() {
    for number in [Double.nan, .infinity] { #expect(throws: EncodingError.self) { try encoded([number]) } }
    #expect(throws: EncodingError.self) { try encoded(UInt64.max) }
    #expect(throws: EncodingError.self) { try encoded(["a\0"]) }
    #expect(throws: EncodingError.self) { try encoded(Interleaved()) }
    // Each level is an object and an array; this is the deepest nesting that can be decoded.
    #expect(throws: Never.self) { try decoded(encoded(Nest(depth: 31)), as: Nest.self) }
    #expect(throws: EncodingError.self) { try encoded(Nest(depth: 32)) }
  }
}

@Suite("Events with synthesised coding")
struct CodableEventTests {
  private func stored(_ event: some DomainEvent) throws -> NewEvent {
    try event.new(in: StreamID(rawValue: "account-1"), id: .v7(), metadata: [])
  }

  private func read(_ type: String, _ version: Int, _ data: String) throws -> AccountEvent {
    try AccountEvent(
      RecordedEvent(
        position: Position(7), stream: StreamID(rawValue: "account-1"), version: Version(1), hash: 0, id: .v7(),
        type: type,
        schemaVersion: version, data: Array(data.utf8), metadata: [], recordedAt: .now))
  }

  @Test("An event's case determines its name, schema version and data")
  func cases() throws {
    for (event, name, version, data) in [
      (AccountEvent.opened(owner: "Ada", limit: 5), "AccountOpened", 2, #"{"owner":"Ada","limit":5}"#),
      (.opened(owner: "Ada", limit: nil), "AccountOpened", 2, #"{"owner":"Ada"}"#),
      (.limitChanged(LimitChanged(limit: 9, reason: "r")), "AccountLimitChanged", 1, #"{"limit":9,"reason":"r"}"#),
      (.closed, "closed", 1, "{}"), (.moved(Nothing()), "moved", 1, "{}"),
    ] {
      let new = try stored(event)
      #expect(new.type == name && new.schemaVersion == version && String(decoding: new.data, as: UTF8.self) == data)
      #expect(try read(name, version, data) == event)
    }
    #expect(try read("AccountOpened", 1, "{}") == .opened(owner: "nobody", limit: nil))
  }

  @Test("An unknown event name or version, or wrong data, is an error and never skipped")
  func unknown() {
    for (type, version, data, error) in [
      ("AccountMoved", 1, "{}", EventDecodingError.unknownType("AccountMoved", schemaVersion: 1)),
      ("opened", 1, "{}", .unknownType("opened", schemaVersion: 1)),
      ("AccountOpened", 3, "{}", .unknownType("AccountOpened", schemaVersion: 3)),
      ("AccountOpened", 2, "{}", .malformed("/owner: is missing")),
      ("AccountOpened", 2, "7", .malformed("must be an object, not a number")),
      ("AccountLimitChanged", 1, #"{"limit":"9"}"#, .malformed("/limit: must be a whole number, not a string")),
      ("AccountLimitChanged", 1, "[]", .malformed("must be an object, not an array")),
    ] {
      #expect(throws: EventDecodingError.at(Position(7), error)) { try read(type, version, data) }
    }
  }

  @Test("Unlabelled values are rejected, except for a single object")
  func labels() {
    for event in [WrongEvent.bare("a"), .two(1, 2), .half(1, label: 2)] {
      #expect(throws: EncodingError.self) { try stored(event) }
    }
  }
}
