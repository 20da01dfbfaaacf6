import Counterflow
import CounterflowTesting
import Testing

@testable import items

@Suite("Items, without servers")
struct ItemDecisionTests {
  @Test("a description changes only if the item exists and the text is new; the row shows it")
  func descriptions() throws {
    let lamp = try given(Item.self, .created(name: "Lamp", description: "old"))
    try lamp.when(ChangeDescription(description: "new")).then(Item.self, .descriptionChanged(to: "new"))
    try lamp.when(ChangeDescription(description: "old")).thenNothing()
    try givenNothing().when(ChangeDescription(description: "new")).thenRejected("not-found")
    let changed = try lamp.and(Item.self, .descriptionChanged(to: "new"))
    #expect(try changed.rows(of: Items())["1"]?.description == "new")
  }
}

@Suite("Items, in memory")
struct ItemJourneyTests {
  @Test("an item is created, read with the command's token, changed and listed")
  func journey() async throws {
    let items = try await InMemory(ItemsApplication())
    let created = try await items.post("/v1/items", #"{"name":"Lamp","description":"old"}"#)
    let path = try #require(created.location)
    #expect(try await items.get(path, after: created.token).json["description"] == "old")
    let changed = try await items.put(
      path + "/description", #"{"description":"new"}"#, headers: ["If-Match": #""1""#])
    #expect(changed.status == 200 && changed.entityTag == #""2""#)
    #expect(try await items.get(path, after: changed.token).json["description"] == "new")
    #expect(try await items.get(path + "?version=1").json["description"] == "old")
    #expect(try await items.get("/v1/items").json["items"]?.array?.count == 1)
  }

  @Test("mistakes in a body are told at once, and full-text search says that it needs PostgreSQL")
  func problems() async throws {
    let items = try await InMemory(ItemsApplication())
    let wrong = try await items.post("/v1/items", #"{"name":5}"#)
    #expect(wrong.status == 422 && wrong.json["errors"]?.array?.map { $0["pointer"] } == ["/name", "/description"])
    #expect(try await items.post("/v1/items", #"{"name":"","description":""}"#).problem == "invalid-request")
    #expect(try await items.put("/v1/items/1/description", #"{"description":"new"}"#).problem == "not-found")
    let search = try await items.get("/v1/items?q=lamp")
    #expect(search.status == 501 && search.problem == "needs-postgresql")
    #expect(try await items.get("/v1/items").json["items"] == [])
  }
}
