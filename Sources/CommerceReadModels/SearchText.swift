internal import Foundation
internal import Postgres

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

  /// A condition that a normal text has for each of these words one that begins like it, or, where it is long, one that has
  /// a typo less or more; and an expression for how well they fit, from 0 to 1000.
  /// - Returns: nil where there are no words.
  static func match(
    _ query: String, _ column: String, _ conditions: inout Conditions
  ) -> (condition: String, rank: String)? {
    let words = words(query).prefix(8)
    guard !words.isEmpty else { return nil }
    var (all, ranks): ([String], [String]) = ([], [])
    for word in words {
      let pattern = conditions.bind("% \(word.replacing("_", with: "\\_"))%")
      let bound = conditions.bind(word)
      ranks.append("word_similarity(\(bound), \(column))")
      guard word.count >= longWord else {
        all.append("\(column) like \(pattern)")
        continue
      }
      // Two letters that changed places are one typo too.
      let letters = Array(word)
      let swapped = letters.indices.dropLast().map { index in
        var letters = letters
        letters.swapAt(index, index + 1)
        return String(letters)
      }
      let variants = conditions.bind(PostgresArray(swapped))
      // What looks alike at all, by the index and at the threshold that query-service sets, is looked at word by word.
      all.append(
        """
        (\(column) like \(pattern) or (\(bound) <% \(column) and exists (
          select from unnest(string_to_array(\(column), ' ')) w
          where w = any(\(variants)) or levenshtein_less_equal(w, \(bound), 1) <= 1)))
        """)
    }
    return (
      all.joined(separator: " and "), "round((\(ranks.joined(separator: " + "))) * 1000 / \(words.count))::bigint"
    )
  }
}
