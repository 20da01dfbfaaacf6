import Counterflow

enum ItemEvent: DomainEvent, Codable {
  case created(name: String, description: String)
  case descriptionChanged(to: String)

  enum CodingKeys: String, CodingKey, CaseIterable {
    case created = "ItemCreated", descriptionChanged = "ItemDescriptionChanged"
  }
}

struct Item: Aggregate {
  static let category = "item"
  var isCreated = false, description = ""

  mutating func apply(_ event: ItemEvent) {
    switch event {
    case .created(_, let description): (isCreated, self.description) = (true, description)
    case .descriptionChanged(let description): self.description = description
    }
  }
}

struct CreateItem: StreamCommand, Codable {
  var name: String, description: String

  func decide(_ item: Item) throws(Rejection) -> [ItemEvent] {
    // The name is indexed, and PostgreSQL limits the size of index entries.
    guard (1...200).contains(name.unicodeScalars.count) else {
      throw .invalidRequest([.init(pointer: "/name", detail: "must have 1 to 200 characters")])
    }
    return [.created(name: name, description: description)]
  }
}

struct ChangeDescription: StreamCommand, Codable {
  var description: String

  func decide(_ item: Item) throws(Rejection) -> [ItemEvent] {
    guard item.isCreated else { throw .notFound("There is no such item.") }
    return description == item.description ? [] : [.descriptionChanged(to: description)]
  }
}

struct Items: ReadModel {
  struct Row: Codable { var id: String, name: String, description: String }

  let name = "items", version = 1
  let sources = [
    RowSource<Row>(Item.self) { event, row in
      switch event.event {
      case .created(let name, let description): row = Row(id: event.id, name: name, description: description)
      case .descriptionChanged(let description): row?.description = description
      }
    }
  ]
  let columns = [Column<Row>("name", \.name), .search("words") { "\($0.name) \($0.description)" }]
  let indexes = [Index("name", "key")]
}

@main
struct ItemsApplication: Application {
  static let name = "items"
  let commands: [CommandRoute] = [
    .post("/v1/items", CreateItem.self), .put("/v1/items/{id}/description", ChangeDescription.self),
  ]
  let readModels: [any ReadModel] = [Items()]
  let queries: [QueryRoute] = [
    .row("/v1/items/{id}", Items()), .list("/v1/items", Items(), order: .ascending("name"), search: "words"),
  ]
}
