import Counterflow
import CounterflowTesting
import Testing

@testable import notebook

@Suite("Notes")
struct NoteTests {
  @Test("a note is revised where it says something else")
  func revising() throws {
    let note = try given(Note.self, .written(text: "Hello"))
    try note.when(ReviseNote(text: "Bye")).then(Note.self, .revised(to: "Bye"))
    try note.when(ReviseNote(text: "Hello")).thenNothing()
    try givenNothing().when(ReviseNote(text: "Bye")).thenRejected("not-found")
  }

  @Test("its row has the newest text, and how often it was revised")
  func row() throws {
    let row = try given(Note.self, .written(text: "Hello"), .revised(to: "Bye")).rows(of: Notes())["1"]
    #expect(row?.text == "Bye" && row?.revisions == 1)
  }

  @Test("the whole application runs in memory: a note is written, revised and read")
  func application() async throws {
    let notes = try await InMemory(NotesApplication())
    let written = try await notes.post("/v1/notes", #"{"text":"Hello"}"#)
    let path = try #require(written.location)
    let revised = try await notes.put(path, #"{"text":"Bye"}"#)
    #expect(try await notes.get(path, after: revised.token).json["text"] == "Bye")
    #expect(try await notes.get("/v1/notes").json["items"]?.array?.count == 1)
  }
}
