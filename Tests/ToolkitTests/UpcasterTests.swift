import EventSourcing
import JSON
import Testing

/// Version 1 counted in dozens, and version 2 had another name for the amount.
private struct Packed: DomainEvent, Equatable {
  let pieces: Int64

  static let upcasters = [
    Upcaster("Packed", from: 1) { json throws(EventDecodingError) in
      guard let dozens = json["dozens"]?.integer else { throw .malformed("dozens is not a number") }
      return ["amount": .integer(dozens * 12)]
    },
    Upcaster("Packed", from: 2) { json throws(EventDecodingError) in
      guard let amount = json["amount"] else { throw .malformed("there is no amount") }
      return ["pieces": amount]
    },
  ]

  static func decode(_ name: String, _ data: JSON) throws(EventDecodingError) -> Packed? {
    guard name == "Packed", let pieces = data["pieces"]?.integer else { return nil }
    return Packed(pieces: pieces)
  }

  func encode(into json: inout JSONWriter) -> String {
    json.object { $0.member("pieces", pieces) }
    return "Packed"
  }
}

@Suite("Upcasting")
struct UpcasterTests {
  private func packed(_ schemaVersion: Int, _ data: String) throws -> Int64 {
    try Packed(
      RecordedEvent(
        position: Position(7), stream: StreamID(rawValue: "box-1"), version: Version(1), hash: 0, id: .v7(),
        type: "Packed", schemaVersion: schemaVersion, data: Array(data.utf8), metadata: [], recordedAt: .now)
    ).pieces
  }

  @Test("Data of every older version becomes the newest, step by step")
  func steps() throws {
    #expect(try packed(1, #"{"dozens":3}"#) == 36)
    #expect(try packed(2, #"{"amount":5}"#) == 5)
    #expect(try packed(3, #"{"pieces":7}"#) == 7)
  }

  @Test("A version without an upcaster, and data that an upcaster rejects, are errors with the position")
  func errors() {
    #expect(throws: EventDecodingError.at(Position(7), .unknownType("Packed", schemaVersion: 4))) {
      try packed(4, "{}")
    }
    #expect(throws: EventDecodingError.at(Position(7), .malformed("dozens is not a number"))) { try packed(1, "{}") }
  }
}
