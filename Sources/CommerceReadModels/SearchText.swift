internal import Foundation

/// Text as it is searched: without case and accents, its words with single spaces between and one before; behind a word
/// such as `BYRON-LOVELACE` its parts.
enum SearchText {
  static func normal(_ text: String) -> String {
    words(text).reduce(into: "") { normal, word in
      normal += " " + word
      let parts = word.split { !$0.isLetter && !$0.isNumber }
      if parts.count > 1 { for part in parts { normal += " " + part } }
    }
  }

  static func words(_ text: String) -> [String] {
    let plain = text.decomposedStringWithCompatibilityMapping.lowercased().unicodeScalars
      .filter { $0.properties.generalCategory != .nonspacingMark }
    return String(String.UnicodeScalarView(plain))
      .split { !$0.isLetter && !$0.isNumber && !"._-".contains($0) }.map(String.init)
  }

  /// From how many letters on a word may have a typo.
  static let longWord = 6

  /// A condition that a normal text has a word that begins like each of these, or, where one is long, looks like it; and
  /// an expression for how well they fit, from 0 to 1000.
  /// - Returns: nil where there are no words.
  static func match(_ query: String, _ column: String, _ conditions: inout Conditions) -> String? {
    let words = words(query).prefix(8)
    guard !words.isEmpty else { return nil }
    var ranks: [String] = []
    for word in words {
      let escaped = word.replacing("_", with: "\\_")
      let pattern = conditions.bind("% \(escaped)%")
      if word.count >= longWord {
        // At the threshold that query-service sets.
        let bound = conditions.bind(word)
        conditions.add("(\(column) like \(pattern) or \(bound) <% \(column))")
        ranks.append("word_similarity(\(bound), \(column))")
      } else {
        let bound = conditions.bind(word)
        conditions.add("\(column) like \(pattern)")
        ranks.append("word_similarity(\(bound), \(column))")
      }
    }
    return "round((\(ranks.joined(separator: " + "))) * 1000 / \(words.count))::bigint"
  }
}
