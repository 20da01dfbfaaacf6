internal import Foundation
public import Postgres

/// Text as it is searched: without case and accents, its words with single spaces between and one before; behind a word
/// such as `BYRON-LOVELACE` its parts.
public enum SearchText {
  package static func normal(_ text: String) -> String {
    wholeWords(text).reduce(into: "") { normal, word in
      normal += " " + bounded(word)
      let parts = word.split { !$0.isLetter && !$0.isNumber }
      if parts.count > 1 { for part in parts { normal += " " + bounded(String(part)) } }
    }
  }

  package static func words(_ text: String) -> [String] { wholeWords(text).map(bounded) }

  /// The beginning of a word, in Unicode scalars. One letter may stand for many, so that no bound on a name bounds its words; and
  /// PostgreSQL compares words of 255 at most.
  private static func bounded(_ word: String) -> String {
    String(String.UnicodeScalarView(word.unicodeScalars.prefix(64)))
  }

  private static func wholeWords(_ text: String) -> [String] {
    let plain = text.decomposedStringWithCompatibilityMapping.lowercased().unicodeScalars
      .filter { $0.properties.generalCategory != .nonspacingMark }
    return String(String.UnicodeScalarView(plain))
      .split { !$0.isLetter && !$0.isNumber && !"._-".contains($0) }.map(String.init)
  }

  /// For connections that search: how much a long word must look like one that is there, to be looked at for a typo; and a
  /// plan for each search as it is, since rare and common words, first and later pages want different ones.
  @Sendable public static func prepare(_ connection: PostgresConnection) async throws {
    try await connection.execute(
      "set pg_trgm.word_similarity_threshold = 0.2; set plan_cache_mode = force_custom_plan")
  }

  /// From how many letters on a word may have a typo.
  static let longWord = 6

  /// A condition that a normal text has for each of these words one that begins like it, or, where it is long, one that has
  /// a typo less or more; and an expression for how well they fit, from 0 to 1000.
  /// - Parameter details: a column of further text, in which words may begin like one too. Then whatever has all of them in the
  ///   first column ranks before the rest.
  /// - Returns: nil where there are no words.
  public static func match(
    _ query: String, _ column: String, orIn details: String? = nil, _ conditions: inout Conditions
  ) -> (condition: String, rank: String)? {
    let words = words(query).prefix(8)
    guard !words.isEmpty else { return nil }
    var (names, anywhere, ranks): ([String], [String], [String]) = ([], [], [])
    for word in words {
      let pattern = conditions.bind("% \(word.replacing("_", with: "\\_"))%")
      let bound = conditions.bind(word)
      let name = condition(word, bound, pattern, column, &conditions)
      names.append(name)
      if let details { anywhere.append("(\(name) or \(details) like \(pattern))") }
      ranks.append("word_similarity(\(bound), \(column))")
    }
    let all = names.joined(separator: " and ")
    let rank = "round((\(ranks.joined(separator: " + "))) * 1000 / \(words.count))::bigint"
    guard details != nil else { return (all, rank) }
    return (anywhere.joined(separator: " and "), "(case when \(all) then 1000 else 0 end + \(rank))")
  }

  /// - Parameters:
  ///   - bound: stands for the word in the SQL.
  ///   - pattern: stands for a text with a word that begins like it.
  private static func condition(
    _ word: String, _ bound: String, _ pattern: String, _ column: String, _ conditions: inout Conditions
  ) -> String {
    guard word.count >= longWord else { return "\(column) like \(pattern)" }
    // Two letters that changed places are one typo too.
    let letters = Array(word)
    let swapped = letters.indices.dropLast().map { index in
      var letters = letters
      letters.swapAt(index, index + 1)
      return String(letters)
    }
    let variants = conditions.bind(PostgresArray(swapped))
    // What looks alike at all, by the index and at the threshold that query-service sets, is looked at word by word. Rows of
    // before words were bounded may have longer ones than can be compared: `case` sees to it that these are not.
    return """
      (\(column) like \(pattern) or (\(bound) <% \(column) and exists (
        select from unnest(string_to_array(\(column), ' ')) w
        where w = any(\(variants))
          or case when abs(length(w) - length(\(bound))) <= 1 then levenshtein_less_equal(w, \(bound), 1) <= 1 end)))
      """
  }
}
