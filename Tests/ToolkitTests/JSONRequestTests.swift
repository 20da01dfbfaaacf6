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

/// Takes nothing but what nobody would try.
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

  @Test("what is right is read as by decode")
  func right() throws {
    let read: Booking = try Self.good.decodeRequest()
    #expect(try read == Self.good.decode())
    #expect(read.seats.map(\.letter) == ["A", "B"])
  }

  @Test("every mistake is found, each with where it is")
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

  @Test("what the path gives counts as a member, and may not be in the body")
  func given() {
    guard case .object(let all) = Self.good else { return }
    let id = all[0]
    let rest = JSON.object(Array(all.dropFirst()))
    #expect(mistakes(rest, given: [id]).isEmpty)
    // One that nobody asks for is no mistake of the body's.
    #expect(mistakes(Self.good, given: [.init("other", "x")]).isEmpty)
    #expect(mistakes(Self.good, given: [id]) == ["/id: is not for the body to say; leave it out"])
  }

  @Test("a type without members refuses what it does not ask for")
  func empty() throws {
    struct Nothing: Codable {}
    _ = try JSON.object([]).decodeRequest(Nothing.self)
    #expect(throws: JSONDecodingErrors.self) { _ = try (["x": 1] as JSON).decodeRequest(Nothing.self) }
    #expect(throws: JSONDecodingErrors.self) { _ = try JSON.null.decodeRequest(Nothing.self) }
  }

  @Test("a type that takes no example ends the search, with what was found so far")
  func noExample() {
    do throws(JSONDecodingErrors) {
      let _: Door = try (["word": "please", "times": "many"] as JSON).decodeRequest()
      Issue.record("it was read")
    } catch { #expect(error.all.map(\.pointer) == ["/word"]) }
  }

  @Test("of very many mistakes there are fifty")
  func many() {
    let seat: JSON = ["row": "x", "letter": 1, "colour": 2]
    #expect(mistakes(["seats": .array(Array(repeating: seat, count: 20_000))]).count == 50)
    let unknown = (0..<20_000).map { JSON.Member("m\($0)", 1) }
    #expect(mistakes(.object((Self.good.members ?? []) + unknown)).count == 50)
  }

  @Test("the shape of a type is what it asks for")
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
