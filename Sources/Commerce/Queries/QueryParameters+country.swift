internal import Commerce
internal import QueryKit

extension QueryParameters {
  mutating func country() throws -> String? {
    try text("country") { text in
      let isFine = Bounds.countryLength.contains(text.unicodeScalars.count) && !text.allSatisfy(\.isWhitespace)
      return isFine ? nil : "must have 1 to 64 characters, and not white space alone"
    }
  }
}
