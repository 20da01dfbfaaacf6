import Foundation
import JSON
import TestSupport
import Testing

/// The smallest application, started as in its README.
@Suite("Items")
struct ItemsTests {
  private func description(_ text: String) -> [UInt8] { (["description": .string(text)] as JSON).encoded }

  @Test("In one process items are created, changed, read with and without a token, and listed", .freshDatabase())
  func oneProcess() async throws {
    let service = try await RunningService.development(of: "items")
    let http = service.http

    let created = try await http.post("/v1/items", ["name": "Lamp", "description": "old"])
    try #require(created.status == 201, "\(created.text)")
    let place = try #require(created.headers["location"])
    #expect(place == "/v1/items/\(created.json["id"]?.string ?? "")")
    // Folded from its events, independent of the read table.
    let strong = try await http.get(place + "?consistency=strong")
    #expect(strong.json["description"] == "old", "\(strong.text)")

    let changed = try await http.send(
      "PUT", place + "/description", body: description("new"), headers: ["If-Match": #""1""#])
    #expect(changed.status == 200 && changed.json["version"] == 2, "\(changed.text)")
    let token = try #require(changed.headers["consistency-token"])
    let read = try await http.send("GET", place, headers: ["Consistency-Token": token])
    #expect(read.json == ["id": created.json["id"]!, "name": "Lamp", "description": "new"], "\(read.text)")
    #expect(try await http.send("GET", place, headers: ["If-None-Match": read.headers["etag"]!]).status == 304)
    #expect(try await http.get(place + "?version=1").json["description"] == "old")

    for name in ["Chair", "Zither", "Bench"] {
      let answer = try await http.post("/v1/items", ["name": .string(name), "description": ""])
      #expect(answer.status == 201)
    }
    try await eventually("all are listed") { try await http.get("/v1/items").json["items"]?.array?.count == 4 }
    var (names, cursor) = ([String](), "")
    repeat {
      let page = try await http.get("/v1/items?limit=2\(cursor)").json
      names += page["items"]?.array?.compactMap { $0["name"]?.string } ?? []
      cursor = page["nextCursor"]?.string.map { "&cursor=" + $0 } ?? ""
    } while !cursor.isEmpty
    #expect(names == ["Bench", "Chair", "Lamp", "Zither"])
    let found = try await http.get("/v1/items?q=zihter").json
    #expect(found["items"]?.array?.map { $0["name"] } == ["Zither"])
    let described = try await http.get("/v1/items?q=NE").json
    #expect(described["items"]?.array?.map { $0["name"] } == ["Lamp"] && described["nextCursor"] == .null)
    #expect(!service.process.output.contains(#""level":"error""#), "\(service.process.output)")
  }

  @Test("A bad request gets all its mistakes with their places, and nothing is stored", .freshDatabase())
  func problems() async throws {
    let http = try await RunningService.development(of: "items").http

    let wrong = try await http.post("/v1/items", ["name": 7, "colour": "red"])
    #expect(wrong.status == 422 && wrong.problem == "invalid-request", "\(wrong.text)")
    #expect(wrong.json["errors"]?.array?.compactMap { $0["pointer"]?.string } == ["/name", "/description", "/colour"])
    let missing = try await http.send(
      "PUT", "/v1/items/none/description", body: description("new"))
    #expect(missing.status == 404 && missing.problem == "not-found", "\(missing.text)")
    for (query, words) in [
      ("", "no none in items,"), ("?consistency=strong", "no item none."), ("?version=1", "no item none then,"),
    ] {
      let none = try await http.get("/v1/items/none" + query)
      #expect(none.status == 404 && none.json["detail"]?.string?.contains(words) == true, "\(query): \(none.text)")
    }
    let parameter = try await http.get("/v1/items?colour=red")
    #expect(parameter.status == 400 && parameter.json["parameter"] == "colour", "\(parameter.text)")
    #expect(try await http.get("/v1/items?cursor=nonsense").status == 400)
    #expect(try await http.get("/v1/items/none?consistency=weak").status == 400)
    #expect(try await http.send("DELETE", "/v1/items").headers["allow"] == "GET, HEAD, POST")
    #expect(try await http.get("/v1/items").json["items"] == [])
  }

  @Test("The OpenAPI document lists every route with its request and response types", .freshDatabase())
  func document() async throws {
    let document = try await RunningService.development(of: "items").http.get("/openapi.json").json
    let paths = document["paths"]
    #expect(paths?.members?.map(\.name) == ["/v1/items", "/v1/items/{id}/description", "/v1/items/{id}"])
    let body = paths?["/v1/items"]?["post"]?["requestBody"]?["content"]?["application/json"]?["schema"]
    #expect(body?["required"] == ["name", "description"])
    #expect(body?["properties"]?["name"] == ["type": "string"])
    let row = paths?["/v1/items/{id}"]?["get"]?["responses"]?["200"]?["content"]?["application/json"]?["schema"]
    #expect(row?["properties"]?.members?.map(\.name) == ["id", "name", "description"])
  }

  @Test(
    "With one process per role and a killed projector, every item shows its last change",
    .freshStores, .freshVirtualHost)
  func processes() async throws {
    let system = System(of: "items")
    try await system.migrate()
    let commands = try await system.startReady(.commandService).http
    try await system.startReady(.relay)
    let projectors = [try await system.startReady(.projector), try await system.startReady(.projector)]
    let queries = try await system.startReady(.queryService).http

    var places: [String] = []
    for number in 1...60 {
      let created = try await commands.post("/v1/items", ["name": .string("item \(number)"), "description": "first"])
      try #require(created.status == 201, "\(created.text)")
      let place = try #require(created.headers["location"])
      places.append(place)
      if number == 30 { projectors[0].process.signal(SIGKILL) }
      let changed = try await commands.send(
        "PUT", place + "/description", body: description("of \(number)"))
      #expect(changed.status == 200, "\(changed.text)")
    }
    for (index, place) in places.enumerated() {
      let strong = try await queries.get(place + "?consistency=strong")
      #expect(strong.json["description"] == .string("of \(index + 1)"), "\(strong.text)")
      try await eventually("\(place) is read as it is", within: .seconds(60)) {
        try await queries.get(place).json == strong.json
      }
    }
    let verify = try system.run("items", ["verify"])
    #expect(try await verify.wait() == 0, "\(verify.output)")
    let status = try system.run("items", ["status"])
    #expect(try await status.wait() == 0, "\(status.output)")
  }
}
