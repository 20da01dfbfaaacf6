/// A row's document cannot be read back, or an event comes before the one that makes its row.
struct ReadModelError: Error, CustomStringConvertible {
  let description: String
}
