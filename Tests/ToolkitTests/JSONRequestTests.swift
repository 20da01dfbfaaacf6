import EventSourcing
import Foundation
import JSON
import Testing

private struct Booking: Codable, Equatable {
  enum Class: String, Codable, CaseIterable { case first, second }

  struct Seat: Codable, Equatable {
    var row: Int
    var letter: String
  }

  var id: UUID
  var from: Timestamp
  var seats: [Seat]
  var travel: Class
  var note: String?
  var meals: [String]?
}

private struct Tree: Codable {
  var name: String
  var branches: [Tree]
}

/// Decodes from a value that no example guesses.
private struct Particular: Decodable {
  init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard text == "open sesame" else {
      throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "must be the word"))
    }
  }
}

private struct Door: Decodable {
  var word: Particular
  var times: Int
}

@Suite("JSON of requests")
struct JSONRequestTests {
  private static let good: JSON = [
    "id": "6F9619FF-8B86-D011-B42D-00CF4FC964FF", "from": "2026-11-21T09:30:00Z",
    "seats": [["row": 1, "letter": "A"], ["row": 2, "letter": "B"]], "travel": "second",
  ]

  private func mistakes(_ json: JSON, given: [JSON.Member] = []) -> [String] {
    do throws(JSONDecodingErrors) {
      let _: Booking = try json.decodeRequest(given: given)
      return []
    } catch { return error.all.map(\.description) }
  }

  @Test("A valid request decodes like any JSON")
  func right() throws {
    let read: Booking = try Self.good.decodeRequest()
    #expect(try read == Self.good.decode())
    #expect(read.seats.map(\.letter) == ["A", "B"])
  }

  @Test("Every mistake is reported with its pointer")
  func wrong() {
    #expect(
      mistakes([
        "id": "none", "seats": [["row": "1", "letter": "A"], ["letter": 2, "width": 3], 7], "travel": "third",
        "note": false, "colour": "red",
      ]).map { $0.prefix { $0 != ":" } } == [
        "/id", "/from", "/seats/0/row", "/seats/1/row", "/seats/1/letter", "/seats/2", "/travel", "/note", "/colour",
        "/seats/1/width",
      ])
    #expect(mistakes([]) == ["must be an object, not an array"])
    #expect(mistakes([:]).count == 4)
  }

  @Test("A path parameter counts as a member and must not be in the body")
  func given() {
    guard case .object(let all) = Self.good else { return }
    let id = all[0]
    let rest = JSON.object(Array(all.dropFirst()))
    #expect(mistakes(rest, given: [id]).isEmpty)
    // An extra path parameter is not a mistake of the body.
    #expect(mistakes(Self.good, given: [.init("other", "x")]).isEmpty)
    #expect(mistakes(Self.good, given: [id]) == ["/id: is not for the body to say; leave it out"])
  }

  @Test("A type without members rejects every member")
  func empty() throws {
    struct Nothing: Codable {}
    _ = try JSON.object([]).decodeRequest(Nothing.self)
    #expect(throws: JSONDecodingErrors.self) { _ = try (["x": 1] as JSON).decodeRequest(Nothing.self) }
    #expect(throws: JSONDecodingErrors.self) { _ = try JSON.null.decodeRequest(Nothing.self) }
  }

  @Test("A type that rejects all examples ends the search, with the mistakes found so far")
  func noExample() {
    do throws(JSONDecodingErrors) {
      let _: Door = try (["word": "please", "times": "many"] as JSON).decodeRequest()
      Issue.record("it was read")
    } catch { #expect(error.all.map(\.pointer) == ["/word"]) }
  }

  @Test("At most fifty mistakes are reported")
  func many() {
    let seat: JSON = ["row": "x", "letter": 1, "colour": 2]
    #expect(mistakes(["seats": .array(Array(repeating: seat, count: 20_000))]).count == 50)
    let unknown = (0..<20_000).map { JSON.Member("m\($0)", 1) }
    #expect(mistakes(.object((Self.good.members ?? []) + unknown)).count == 50)
  }

  @Test("The shape of a type lists its members and their types")
  func shapes() {
    func member(_ name: String, _ shape: JSONShape, optional: Bool = false) -> JSONShape.Member {
      JSONShape.Member(name: name, shape: shape, isOptional: optional)
    }
    #expect(
      JSONShape(of: Booking.self)
        == .object([
          member("id", .formatted(.uuid)), member("from", .formatted(.time)),
          member("seats", .array(of: .object([member("row", .integer), member("letter", .string)]))),
          member("travel", .choice(["first", "second"])), member("note", .string, optional: true),
          member("meals", .array(of: .string), optional: true),
        ]))
    #expect(JSONShape(of: [Double].self) == .array(of: .number))
    #expect(JSONShape(of: [UUID].self) == .array(of: .formatted(.uuid)))
    #expect(JSONShape(of: Timestamp.self) == .formatted(.time))
    #expect(JSONShape(of: Particular.self) == .string)
    guard case .object(let members) = JSONShape(of: Tree.self) else {
      Issue.record("a type that holds itself has no shape")
      return
    }
    #expect(members.first?.name == "name" && members.first?.shape == .string)
  }
}
