import Counterflow

/// The events of a note. Events are stored for ever, so never change a case's wire name in `CodingKeys`.
enum NoteEvent: DomainEvent, Codable {
  case written(text: String)
  case revised(to: String)

  enum CodingKeys: String, CodingKey, CaseIterable { case written = "NoteWritten", revised = "NoteRevised" }
}

/// The state of a note, for decisions.
struct Note: Aggregate {
  static let category = "note"
  var isWritten = false, text = ""

  mutating func apply(_ event: NoteEvent) {
    switch event {
    case .written(let text), .revised(let text): (isWritten, self.text) = (true, text)
    }
  }
}

/// A command's properties are the request's body. `decide` returns the events to append, or throws a `Rejection`.
struct WriteNote: StreamCommand, Codable {
  var text: String

  func decide(_ note: Note) -> [NoteEvent] { [.written(text: text)] }
}

struct ReviseNote: StreamCommand, Codable {
  var text: String

  func decide(_ note: Note) throws(Rejection) -> [NoteEvent] {
    guard note.isWritten else { throw .notFound("There is no such note.") }
    return text == note.text ? [] : [.revised(to: text)]
  }
}

/// The read model. Increase `version` when the rows change: the new rows are built beside the rows that queries see.
struct Notes: ReadModel {
  struct Row: Codable { var id: String, text: String, writtenAt: Timestamp, revisions: Int }

  let name = "notes", version = 1
  let sources = [
    RowSource<Row>(Note.self) { event, row in
      switch event.event {
      case .written(let text): row = Row(id: event.id, text: text, writtenAt: event.recordedAt, revisions: 0)
      case .revised(let text):
        row?.text = text
        row?.revisions += 1
      }
    }
  ]
  let columns = [Column<Row>("written_at", \.writtenAt), .search("words", \.text)]
  let indexes = [Index("written_at", "key")]
}

@main
struct NotesApplication: Application {
  static let name = "notebook"
  let commands: [CommandRoute] = [.post("/v1/notes", WriteNote.self), .put("/v1/notes/{id}", ReviseNote.self)]
  let readModels: [any ReadModel] = [Notes()]
  let queries: [QueryRoute] = [
    .row("/v1/notes/{id}", Notes()),
    .list("/v1/notes", Notes(), order: .descending("written_at"), search: "words"),
  ]
}
