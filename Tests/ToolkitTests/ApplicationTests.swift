import Foundation
import Testing

@testable import Counterflow

private struct Light: Aggregate {
  enum Event: DomainEvent, Codable { case switched(on: Bool) }

  static let category = "light"
  var isOn = false

  mutating func apply(_ event: Event) { if case .switched(let on) = event { isOn = on } }
}

private struct Switch: StreamCommand, Codable {
  var on: Bool

  func decide(_ light: Light) -> [Light.Event] { light.isOn == on ? [] : [.switched(on: on)] }
}

private struct Listed: Aggregate {
  enum Event: DomainEvent, Codable {
    case moved(to: String), kept

    enum CodingKeys: String, CodingKey, CaseIterable { case moved = "ListedMoved", kept = "ListedKept" }
  }

  static let category = "listed"
  mutating func apply(_: Event) {}
}

private struct Dashed: Aggregate {
  static let category = "light-bulb"
  mutating func apply(_: Light.Event) {}
}

private struct SwitchDashed: StreamCommand, Codable {
  func decide(_: Dashed) -> [Light.Event] { [] }
}

private struct Lights: ReadModel {
  struct Row: Codable { var on: Bool, room: String? }

  var name = "lights"
  let version = 1
  let sources = [RowSource<Row>(Light.self) { event, row in row = Row(on: true, room: nil) }]
  var columns = [Column<Row>("is_on", \.on), Column("room", \.room)]
  var indexes: [Index] = []
  var groups = ["room"]
  var totals: [Totals<Row>] {
    [Totals("light_counts", by: groups.map { .text($0) { $0.room ?? "" } }, [.count("lights")])]
  }
}

private struct Rename: StreamCommand, Codable {
  var id: String, name: String
  func decide(_: Light) -> [Light.Event] { [] }
}

private struct Bulbs: ReadModel {
  struct Row: Codable { var on: Bool }

  let name = "bulbs", version = 1
  let sources = [RowSource<Row>(Dashed.self) { _, _ in }]
}

/// Switches both lights.
private struct SwitchPair: Command, Codable {
  var room: String, left: String, right: String

  var streams: [AggregateReference] { [left, right].map { AggregateReference(Light.self, $0) } }

  func decide(_ decision: inout Decision) { decision.emit(.switched(on: true), to: Light.self, left) }
}

private struct Lit: Codable { var room: String, lights: Int, since: Timestamp, last: UUID, note: String? }

private struct House: Application {
  var commands: [CommandRoute] = [.post("/v1/lights/{id}/switch", Switch.self)]
  var readModels: [any ReadModel] = [Lights()]
  var queries: [QueryRoute] = [
    .row("/v1/lights/{id}", Lights()), .list("/v1/lights", Lights(), filters: ["room"], order: .descending("is_on")),
    .totals("/v1/rooms", "light_counts", of: Lights()), .history("/v1/lights/{id}/history", of: Light.self),
  ]
  var console = Console()

  static func console(_ routes: Console.Newest.Routes) -> Console.Newest {
    Console.Newest("Lights", routes, id: "id", columns: ["\("id")"])
  }
}

@Suite("Applications")
struct ApplicationTests {
  @Test("A valid application has no problem")
  func sound() {
    #expect(House().problem == nil)
    let indexes: [Index] = [
      "room", Index("Room DESC", "lower (room)", "coalesce(room, '')", "key"), Index("(room || '!')"),
    ]
    #expect(House(readModels: [Lights(indexes: indexes)]).problem == nil)
  }

  @Test("The problem of an invalid application names the mistake before anything runs")
  func problems() {
    func expect(_ words: String, _ change: (inout House) -> Void) {
      var house = House()
      change(&house)
      let problem = house.problem
      #expect(problem?.contains(words) == true, "\(problem ?? "none"), not: \(words)")
    }
    expect("'light-bulb' of Dashed") { $0.commands = [.post("/v1/bulbs", SwitchDashed.self)] }
    expect("two read models are named lights") { $0.readModels += [Lights()] }
    expect("not among readModels") { $0.readModels = [] }
    expect("'Lights'") { $0.readModels = [Lights(name: "Lights")] }
    expect("cannot be called version") {
      $0.readModels = [Lights(columns: [Column("version", \.on), Column("is_on", \.on), Column("room", \.room)])]
    }
    expect("two columns of the read model lights are called room") {
      $0.readModels = [Lights(columns: [Column("room", \.on), Column("room", \.room)])]
    }
    expect("the read model lights has no column rom, which its index (is_on, rom desc, key) names") {
      $0.readModels = [Lights(indexes: ["room", Index("is_on", "rom desc", "key")])]
    }
    expect("GET /v1/lights/{…} is there twice") { $0.queries += [.row("/v1/lights/{name}", Lights())] }
    expect("GET /v1/changes is there twice") { $0.queries += [.list("/v1/changes", Lights())] }
    expect("PUT /v1/switch needs {id}") { $0.commands += [.put("/v1/switch", Switch.self)] }
    expect("/v1/light needs a parameter") { $0.queries += [.row("/v1/light", Lights())] }
    expect("/v1/now needs a parameter") { $0.queries += [.changes("/v1/now", of: Light.self, in: Lights())] }
    expect("lights has no row for each light-bulb, which /v1/{id}/now follows") {
      $0.queries += [.changes("/v1/{id}/now", of: Dashed.self, in: Lights())]
    }
    expect("/v1/past needs a parameter") { $0.queries += [.history("/v1/past", of: Light.self)] }
    expect("has two parameters named id") { $0.commands += [.post("/v1/{id}/{id}", Switch.self)] }
    expect("has no column colour") { $0.queries += [.list("/v1/all", Lights(), filters: ["colour"])] }
    expect("has no column house") { $0.queries += [.list("/v1/houses/{house}/lights", Lights())] }
    expect("cannot be sorted by room, which may be null") {
      $0.queries += [.list("/v1/all", Lights(), order: .ascending("room"))]
    }
    expect("/v1/pairs, which /v1/pairs creates, needs one parameter") {
      $0.commands += [.post("/v1/pairs", SwitchPair.self, creating: "/v1/pairs")]
    }
    expect("and of a name of its own") {
      $0.commands += [.post("/v1/{left}/pairs", SwitchPair.self, creating: "/v1/lights/{left}")]
    }
    func list(_ order: ListOrder, _ sql: String) -> QueryRoute {
      .list("/v1/lit/{room}", Lit.self, of: Lights(), order: order, sql: sql)
    }
    expect("has {house}, which is no parameter of the path") {
      $0.queries += [list(.ascending("room"), "select 1 where {room} = {house}")]
    }
    expect("has {room} of the type money") {
      $0.queries += [list(.ascending("room"), "select 1 where {room::money} = 1")]
    }
    for column in ["colour", "note"] {
      expect("must be sorted by members of Lit") { $0.queries += [list(.ascending("room", column), "select 1")] }
    }
    expect("must be sorted by members of Lit") { $0.queries += [list(.ascending(), "select 1")] }
    expect("reads the read model lights, which is not among") {
      $0 = House(commands: [], readModels: [], queries: [.row("/v1/lit", Lit.self, of: Lights(), sql: "select 1")])
    }
    expect("/v1/lights/{lamp}/switch gives lamp, and Switch has no member") {
      $0.commands = [.post("/v1/lights/{lamp}/switch", Switch.self)]
    }
    expect("/v1/{form}/pairs gives form, and SwitchPair has no member") {
      $0.commands += [.post("/v1/{form}/pairs", SwitchPair.self)]
    }
    expect("gives id, and SwitchPair has no member") {
      $0.commands += [.post("/v1/pairs", SwitchPair.self, creating: "/v1/lights/{id}")]
    }
    expect("Rename has a member id") { $0.commands += [.put("/v1/lights/{id}/name", Rename.self)] }
    expect("'order', which is a word of SQL") { $0.readModels = [Lights(columns: [Column("order", \.on)])] }
    expect("two tables of the read models are named light_counts") { $0.readModels += [Lights(name: "light_counts")] }
    expect("the totals light_counts cannot be called partition") { $0.readModels = [Lights(groups: ["partition"])] }
    expect("the totals light_counts are called room") { $0.readModels = [Lights(groups: ["room", "room"])] }
    expect("has a source of the category 'light-bulb'") { $0.readModels = [Bulbs()] }
    expect("/v1/{room}/{id} needs a parameter, and no other") { $0.queries += [.row("/v1/{room}/{id}", Lights())] }
    expect("the console lists /v1/lamps, which is no list") {
      $0.console = Console(House.console(.init(list: "/v1/lamps", row: "/v1/lights/{id}")))
    }
    expect("the console opens /v1/lights, which is no row") {
      $0.console = Console(House.console(.init(list: "/v1/lights", row: "/v1/lights")))
    }
    expect("the console opens /v1/rooms, which is no history") {
      $0.console = Console(House.console(.init(list: "/v1/lights", row: "/v1/lights/{id}", history: "/v1/rooms")))
    }
    expect("the console searches /v1/lights for words, which has no parameter q") {
      let lights = House.console(.init(list: "/v1/lights", row: "/v1/lights/{id}"))
      $0.console = Console(lights.finding("Find a light", "A word", isByText: true))
    }
    expect("has no totals rooms") { $0.queries += [.totals("/v1/all", "rooms", of: Lights())] }
    expect("are not formed by house") { $0.queries += [.totals("/v1/{house}/rooms", "light_counts", of: Lights())] }
  }

  @Test("A console whose routes are there is valid, however their parameters are named")
  func console() {
    let routes = Console.Newest.Routes(
      list: "/v1/lights", row: "/v1/lights/{light}", history: "/v1/lights/{light}/history")
    #expect(House(console: Console(House.console(routes))).problem == nil)
  }

  @Test("A row's text names its members and their formats")
  func rowText() {
    let text: RowText =
      "\("id"): \(money: "total", in: "currency") · \(each: "lines", "\(number: "quantity") × \("name", or: "sku")")"
    #expect(
      text.json == [
        ["as": "text", "member": "id", "or": nil], ": ", ["as": "money", "member": "total", "currency": "currency"],
        " · ",
        [
          "as": "each", "member": "lines",
          "element": [
            ["as": "number", "member": "quantity"], " × ", ["as": "text", "member": "name", "or": "sku"],
          ],
        ],
      ])
  }

  @Test("The names of events are known, and listed if the coding keys list them")
  func eventNames() {
    let some = EventNames([Light.self])
    #expect(some.contains("switched") && !some.contains("lost") && some.all == nil)
    let all = EventNames([Listed.self, Listed.self])
    #expect(all.contains("ListedMoved") && !all.contains("moved") && all.all == ["ListedKept", "ListedMoved"])
    #expect(EventNames([Light.self, Listed.self]).all == nil && EventNames([]).all == [])
  }

  @Test("Custom SQL sorts by texts, numbers, times and ids, and braces without a name stay as they are")
  func ownSQL() {
    let sorted = ListOrder.descending("since", "last", "lights", "room")
    let route = QueryRoute.list(
      "/v1/lit/{room}", Lit.self, of: Lights(), order: sorted, sql: "select '{}'::text[] || '{1,2}' || {room}")
    #expect(route.problem == nil && route.shape == JSONShape(of: Lit.self))
    #expect(House(queries: [route]).problem == nil)
  }

  @Test("A body is required if the path does not give all members of the command")
  func bodies() {
    #expect(CommandRoute.put("/v1/lights/{id}", Switch.self).body.isRequired)
    #expect(CommandRoute.post("/v1/lights", Switch.self).body.isRequired)
    #expect(!CommandRoute.post("/v1/lights/{id}/{on}", Switch.self).body.isRequired)
    #expect(CommandRoute.patch("/v1/{room}/{left}", SwitchPair.self).problem == nil)
    #expect(CommandRoute.delete("/v1/{room}/{left}", SwitchPair.self).body.members?.map(\.name) == ["right"])
    let made = CommandRoute.post("/v1/{room}/{left}/pairs", SwitchPair.self, creating: "/v1/lights/{right}")
    #expect(made.problem == nil && made.creates && made.body.members?.isEmpty == true && !made.body.isRequired)
  }

  @Test("A parameter may have different names in different routes, and the router gets one name for each place")
  func parameters() {
    var paths = RouterPaths()
    #expect(paths.add("/v1/people/{id}").path == "/v1/people/{id}")
    let (path, names) = paths.add("/v1/people/{follower}/following/{id}")
    #expect(path == "/v1/people/{id}/following/{id_}")
    #expect(names == ["follower": "id", "id": "id_"])
    #expect(paths.add("/v1/people/{a}/following/{b}").path == path)
  }
}
