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
