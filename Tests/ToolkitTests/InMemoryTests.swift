import Counterflow
import CounterflowTesting
import Testing

private enum ParcelEvent: DomainEvent, Codable {
  case sent(weight: Int64, by: String, note: String?)
  case reminded
  case arrived

  enum CodingKeys: String, CodingKey {
    case sent = "ParcelSent", reminded = "ParcelReminded", arrived = "ParcelArrived"
  }
}

private struct Parcel: Aggregate {
  static let category = "parcel"
  var hasArrived = false
  mutating func apply(_ event: ParcelEvent) { if case .arrived = event { hasArrived = true } }
}

private struct SendParcel: StreamCommand, Codable {
  var weight: Int64, by: String, note: String?
  func decide(_: Parcel) -> [ParcelEvent] { [.sent(weight: weight, by: by, note: note)] }
}

private struct Arrive: StreamCommand, Codable {
  func decide(_ parcel: Parcel) -> [ParcelEvent] { parcel.hasArrived ? [] : [.arrived] }
}

/// Reminds once, and again after a day, until the parcel has arrived.
private struct Remind: StreamCommand, Codable {
  func decide(_ parcel: Parcel) throws(Rejection) -> [ParcelEvent] {
    guard !parcel.hasArrived else { throw Rejection("arrived", title: "It has arrived", detail: "Nothing to do.") }
    return [.reminded]
  }
}

private struct Reminders: Reaction {
  let name = "reminders"
  var schedules = [ScheduledType(Remind.self)]
  let triggers = [
    Trigger(Parcel.self) { event, todo in
      switch event.event {
      case .sent(let weight, _, _):
        guard weight > 0 else { throw Rejection("weightless", title: "Without weight", detail: "Weigh it.") }
        todo.schedule(Remind(), to: event.id, .after(.seconds(weight)))
      case .reminded: todo.schedule(Remind(), to: event.id, .after(.seconds(86_400)))
      case .arrived: break
      }
    }
  ]
}

/// Asks a carrier to fetch each parcel.
private struct Fetching: Effect {
  struct Call: Equatable { var parcel: String, by: String }

  let name = "fetching"
  let triggers = [
    EffectTrigger<Call>(Parcel.self) { event, calls in
      if case .sent(_, let carrier, _) = event.event { calls.make(Call(parcel: event.id, by: carrier)) }
    }
  ]

  func perform(_ call: Call, _ context: EffectContext) { Issue.record("\(context.key) is called") }
}

private struct Parcels: ReadModel {
  struct Row: Codable { var id: String, weight: Int64, by: String, note: String?, reminders: Int, at: Timestamp }

  let name = "parcels", version = 1
  let sources = [
    RowSource<Row>(Parcel.self) { event, row in
      switch event.event {
      case .sent(let weight, let by, let note):
        guard weight < 1_000 else { throw MissingRow("the scale") }
        row = Row(id: event.id, weight: weight, by: by, note: note, reminders: 0, at: event.recordedAt)
      case .reminded: row?.reminders += 1
      case .arrived: row = nil
      }
    }
  ]
  let columns = [
    Column<Row>("weight", \.weight), Column("carrier", \.by), Column("note", \.note), Column("at", \.at),
    Column("half") { Double($0.weight) / 2 }, Column("is_heavy") { $0.weight > 100 },
  ]
  let totals = [
    Totals<Row>("carriers", by: [.text("carrier", \.by)], [.sum("weight", \.weight), .range("at", \.at)]),
    Totals<Row>("extremes", by: [], [.range("weight", \.weight)]),
  ]
}

private struct Post: Application {
  let commands: [CommandRoute] = [
    .put("/v1/parcels/{id}", SendParcel.self), .delete("/v1/parcels/{id}", Arrive.self),
  ]
  let readModels: [any ReadModel] = [Parcels()]
  var reactions: [any Reacting] = [Reminders()]
  let queries: [QueryRoute] = [
    .row("/v1/parcels/{id}", Parcels()),
    .list(
      "/v1/parcels", Parcels(), filters: ["carrier", "note", "half", "is_heavy", "at"], order: .descending("weight")),
    .list("/v1/times", Parcels(), order: .ascending("at")), .list("/v1/halves", Parcels(), order: .ascending("half")),
    .totals("/v1/carriers", "carriers", of: Parcels()), .totals("/v1/extremes", "extremes", of: Parcels()),
  ]
}

@Suite("An application in memory")
struct InMemoryTests {
  private func send(_ post: InMemory, _ id: String, _ weight: Int, by carrier: String = "ox") async throws {
    let sent = try await post.put("/v1/parcels/\(id)", #"{"weight":\#(weight),"by":"\#(carrier)"}"#)
    #expect(sent.status == 201, "\(sent)")
  }

  private func ids(_ post: InMemory, _ path: String) async throws -> [String] {
    let answer = try await post.get(path)
    return try #require(answer.json["items"]?.array, "\(answer)").compactMap { $0["id"]?.string }
  }

  @Test("Scheduled commands fire in the order in which they are due, also those that a fired one leads to")
  func deadlines() async throws {
    let post = try await InMemory(Post())
    try await send(post, "b", 20)
    try await send(post, "a", 10)
    let start = post.now
    try await post.advance(by: .seconds(19))
    #expect(try await post.events(of: Parcel.self, "a").count == 2)
    #expect(try await post.events(of: Parcel.self, "b").count == 1)
    try await post.advance(by: .seconds(2 * 86_400))
    #expect(post.now == start.advanced(by: .seconds(2 * 86_400 + 19)))
    #expect(try await post.get("/v1/parcels/a").json["reminders"] == 3)
    #expect(try await post.get("/v1/parcels/b").json["reminders"] == 2)
    // Each is recorded at the time at which it was due.
    let history = try await post.get("/v1/parcels/a?at=\(start.advanced(by: .seconds(10)))")
    #expect(history.json["reminders"] == 1, "\(history)")
  }

  @Test("A scheduled command that is rejected fails the test that moves the clock, and is gone")
  func rejected() async throws {
    let post = try await InMemory(Post())
    try await send(post, "a", 10)
    #expect(try await post.delete("/v1/parcels/a").status == 200)
    let failure = await #expect(throws: Mismatch.self) { try await post.advance(by: .seconds(60)) }
    #expect(failure?.description.contains("It has arrived") == true, "\(failure?.description ?? "")")
    try await post.advance(by: .seconds(60))
  }

  @Test("An effect makes no calls, and the test may ask for those that follow")
  func effects() async throws {
    let post = try await InMemory(Post(reactions: [Reminders(), Fetching()]))
    try await send(post, "a", 10)
    try await send(post, "b", 10, by: "cow")
    #expect(try await post.delete("/v1/parcels/a").status == 200)
    #expect(try await post.calls(of: Fetching()) == [.init(parcel: "a", by: "ox"), .init(parcel: "b", by: "cow")])
  }

  @Test("A scheduled command that no reaction names is an error")
  func unknown() async throws {
    let post = try await InMemory(Post(reactions: [Reminders(schedules: [])]))
    try await send(post, "a", 10)
    let failure = await #expect(throws: Mismatch.self) { try await post.advance(by: .seconds(60)) }
    #expect(failure?.description.contains("`schedules`") == true)
  }

  @Test("An event that a reaction or a read model refuses parks its stream, and the test gets the error")
  func parked() async throws {
    let post = try await InMemory(Post())
    var failure = await #expect(throws: Mismatch.self) { try await send(post, "light", 0) }
    #expect(failure?.description.contains("the reaction reminders") == true)
    failure = await #expect(throws: Mismatch.self) { try await send(post, "heavy", 1_000) }
    #expect(failure?.description.contains("the read model parcels") == true)
    let gone = try await post.delete("/v1/parcels/heavy")
    let read = try await post.get("/v1/parcels/heavy", after: gone.token)
    #expect(read.status == 503 && read.problem == "stream-parked", "\(read)")
    try await send(post, "a", 10)
    #expect(try await ids(post, "/v1/parcels") == ["a", "light"])
  }

  @Test("Lists filter, sort and page by the types of their columns")
  func lists() async throws {
    let post = try await InMemory(Post())
    for (id, weight, carrier) in [("a", 9, "ox"), ("b", 10, "Ox"), ("c", 200, "ox"), ("d", 10, "ähre")] {
      try await send(post, id, weight, by: carrier)
      try await post.advance(by: .milliseconds(1))
    }
    #expect(try await ids(post, "/v1/parcels") == ["c", "d", "b", "a"])
    #expect(try await ids(post, "/v1/times") == ["a", "b", "c", "d"])
    #expect(try await ids(post, "/v1/halves") == ["a", "b", "d", "c"])
    #expect(try await ids(post, "/v1/parcels?carrier=ox&half=4.5") == ["a"])
    #expect(try await ids(post, "/v1/parcels?is_heavy=true") == ["c"])
    #expect(try await ids(post, "/v1/parcels?at=2026-01-01T01:00:00.001%2B01:00") == ["b"])
    // A null equals nothing.
    #expect(try await ids(post, "/v1/parcels?note=") == [])
    for path in ["/v1/parcels", "/v1/times", "/v1/halves"] {
      var (seen, cursor): ([String], String?) = ([], "")
      while let next = cursor {
        let page = try await post.get("\(path)?limit=1\(next.isEmpty ? "" : "&cursor=\(next)")").json
        seen += page["items"]?.array?.compactMap { $0["id"]?.string } ?? []
        cursor = page["nextCursor"]?.string
      }
      #expect(try await seen == ids(post, path))
    }
    for query in ["half=x", "is_heavy=1", "cursor=x", "limit=0", "stray=1"] {
      #expect(try await post.get("/v1/parcels?\(query)").problem == "invalid-parameter", "\(query)")
    }
    try await post.advance(by: .seconds(9))
    #expect(try await post.delete("/v1/parcels/a").status == 200)
    #expect(try await ids(post, "/v1/parcels") == ["c", "d", "b"])
  }

  @Test("Totals add up, and ranges shrink when a row goes")
  func totals() async throws {
    let post = try await InMemory(Post())
    #expect(try await post.get("/v1/extremes").json["items"] == [])
    try await send(post, "a", 100)
    try await post.advance(by: .milliseconds(1500))
    try await send(post, "b", 7)
    try await send(post, "c", 8, by: "cow")
    let (first, second): (JSON, JSON) = ("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01.5+00:00")
    #expect(
      try await post.get("/v1/carriers").json["items"] == [
        ["carrier": "cow", "weight": 8, "at": ["smallest": second, "largest": second]],
        ["carrier": "ox", "weight": 107, "at": ["smallest": first, "largest": second]],
      ])
    #expect(try await post.get("/v1/extremes").json["items"] == [["weight": ["smallest": 7, "largest": 100]]])
    #expect(try await post.delete("/v1/parcels/a").status == 200)
    #expect(try await post.get("/v1/carriers?carrier=ox").json["items"]?[0]?["weight"] == 7)
    #expect(try await post.get("/v1/extremes").json["items"] == [["weight": ["smallest": 7, "largest": 8]]])
  }

  @Test("A method, a path, a body and a token that are wrong are answered as in production")
  func strangers() async throws {
    let post = try await InMemory(Post())
    #expect(try await post.send("PATCH", "/v1/parcels/a", "{}").problem == "method-not-allowed")
    #expect(try await post.get("/v1/nothing").problem == "not-found")
    let empty = try await post.put("/v1/parcels/a", headers: ["Content-Type": "application/json"])
    #expect(empty.problem == "malformed-json" && empty.json["errors"]?[0]?["detail"] == "the body is empty", "\(empty)")
    #expect(try await post.get("/v1/parcels/a", after: "x").problem == "invalid-header")
    #expect(try await post.get("/v1/changes").problem == "needs-postgresql")
    #expect(try await post.get("/openapi.json").json["openapi"] == "3.1.0")
    let other = try await InMemory(Post()).put("/v1/parcels/a", #"{"weight":1,"by":"ox"}"#)
    #expect(try await post.get("/v1/parcels/a", after: other.token).problem == "invalid-header")
  }

  @Test("Many commands at once take effect once each, and rows show all of them")
  func concurrency() async throws {
    let post = try await InMemory(Post())
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 1...60 { group.addTask { try await send(post, "p\(number)", number) } }
      try await group.waitForAll()
    }
    let expected: JSON = [["weight": ["smallest": 1, "largest": 60]]]
    #expect(try await post.get("/v1/extremes").json["items"] == expected)
    #expect(try await post.get("/v1/carriers").json["items"]?[0]?["weight"] == 1830)
  }

  @Test("An application that cannot work is refused")
  func problem() async throws {
    struct Broken: Application {
      let commands: [CommandRoute] = []
      let readModels: [any ReadModel] = []
      let queries: [QueryRoute] = [.row("/v1/parcels/{id}", Parcels())]
    }
    await #expect(throws: Mismatch.self) { _ = try await InMemory(Broken()) }
  }
}
