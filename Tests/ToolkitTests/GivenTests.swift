import Counterflow
import CounterflowTesting
import Testing

private struct Meter: Aggregate {
  enum Event: DomainEvent, Codable {
    case read(value: Double)
    case reset
  }

  static let category = "meter"
  var readings = 0

  mutating func apply(_ event: Event) { if case .reset = event { readings = 0 } else { readings += 1 } }
}

private struct Read: StreamCommand {
  var value: Double

  func decide(_ meter: Meter) throws(Rejection) -> [Meter.Event] {
    guard meter.readings < 2 else { throw Rejection("full", title: "Full", detail: "Reset it.") }
    return value == 0 ? [] : [.read(value: value)]
  }
}

private struct Stray: Command {
  var named: [String]
  var streams: [AggregateReference] { named.map { AggregateReference(Meter.self, $0) } }
  func decide(_ decision: inout Decision) { decision.emit(.reset, to: Meter.self, "b") }
}

private struct StrayLook: Command {
  var streams: [AggregateReference] { [AggregateReference(Meter.self, "a")] }
  func decide(_ decision: inout Decision) throws(Rejection) {
    guard decision.state(Meter.self, "b").readings > 0 else { throw .notFound("There is none.") }
  }
}

private struct Readings: ReadModel {
  struct Row: Codable { var count: Int, last: Double }

  let name = "readings", version = 1
  let sources = [
    RowSource<Row>(Meter.self) { event, row in
      switch event.event {
      case .read(let value): row = Row(count: (row?.count ?? 0) + 1, last: value)
      case .reset: row = nil
      }
    }
  ]
}

/// A row that is decoded with another value than was encoded.
private struct Lossy: ReadModel {
  struct Row: Codable {
    var last: Double
    private enum CodingKeys: CodingKey { case last }
    init(last: Double) { self.last = last }
    init(from decoder: any Decoder) throws {
      last = try decoder.container(keyedBy: CodingKeys.self).decode(Double.self, forKey: .last).rounded()
    }
  }

  let name = "lossy", version = 1
  let sources = [
    RowSource<Row>(Meter.self) { event, row in if case .read(let value) = event.event { row = Row(last: value) } }
  ]
}

@Suite("Domain tests without servers")
struct GivenTests {
  @Test("A result that matches the expectation passes")
  func passes() throws {
    try givenNothing().when(Read(value: 1)).then(Meter.self, .read(value: 1))
    try givenNothing().when(Read(value: 0)).thenNothing()
    let full = try given(Meter.self, .read(value: 1), .read(value: 2))
    try full.when(Read(value: 3)).thenRejected("full")
    try full.and(Meter.self, .reset).when(Read(value: 3)).then(Meter.self, .read(value: 3))
    try full.when(Read(value: 3), id: "2").then(Meter.self, id: "2", .read(value: 3))
    #expect(try full.when(Read(value: 3), id: "").rejection == .invalidID)
  }

  @Test("Any other result fails with what was expected and what was found")
  func fails() throws {
    func expect(_ words: [String], _ body: () throws -> Void) {
      let error = #expect(throws: Mismatch.self) { try body() }
      for word in words {
        #expect(error?.description.contains(word) == true, "\(error?.description ?? "nothing"): \(word)")
      }
    }
    let one = try given(Meter.self, .read(value: 1)).when(Read(value: 2))
    expect([#"expected read {"value":3.0}"#, #"found read {"value":2.0}"#]) {
      try one.then(Meter.self, .read(value: 3))
    }
    expect(["expected nothing in meter-1"]) { try one.then(Meter.self) }
    expect(["expected nothing"]) { try one.thenNothing() }
    expect(["expected the rejection full"]) { try one.thenRejected("full") }
    let rejected = try given(Meter.self, .read(value: 1), .read(value: 2)).when(Read(value: 3))
    expect(["found the rejection full"]) { try rejected.then(Meter.self) }
    expect(["found the rejection full"]) { try rejected.thenNothing() }
    expect(["expected the rejection empty"]) { try rejected.thenRejected("empty") }
  }

  @Test("A command that uses an undeclared stream, or declares none, fails")
  func misuse() throws {
    #expect(throws: UndeclaredStream.self) { try givenNothing().when(Stray(named: ["a"])) }
    #expect(throws: Mismatch.self) { try givenNothing().when(Stray(named: [])) }
    try givenNothing().when(Stray(named: ["b"])).then(Meter.self, id: "b", .reset)
    // Also if the command is rejected because of a stream that it did not declare.
    #expect(throws: UndeclaredStream.self) { try givenNothing().when(StrayLook()) }
  }

  @Test("An event that cannot be stored fails")
  func unstorable() {
    #expect(throws: EncodingError.self) { try given(Meter.self, .read(value: .infinity)) }
  }

  @Test("Rows are folded, and a row that does not survive a round trip fails")
  func rows() throws {
    let events = try given(Meter.self, .read(value: 1), .read(value: 2.5)).and(
      Meter.self, id: "2", .read(value: 3), .reset)
    let rows = try events.rows(of: Readings())
    #expect(rows.keys == ["1"] && rows["1"]?.count == 2 && rows["1"]?.last == 2.5)
    #expect(throws: Mismatch.self) { try events.rows(of: Lossy()) }
  }
}
