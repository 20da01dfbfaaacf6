internal import Foundation
public import Postgres

/// The form in which text is searched: without case and accents, with one space before each word. The parts of a word
/// such as `BYRON-LOVELACE` follow the word.
public enum SearchText {
  package static func normal(_ text: String) -> String {
    wholeWords(text).reduce(into: "") { normal, word in
      normal += " " + bounded(word)
      let parts = word.split { !$0.isLetter && !$0.isNumber }
      if parts.count > 1 { for part in parts { normal += " " + bounded(String(part)) } }
    }
  }

  package static func words(_ text: String) -> [String] { wholeWords(text).map(bounded) }

  /// Returns the first 64 Unicode scalars of a word. One letter may become many scalars, so a limit on names does not
  /// limit their words. PostgreSQL compares words of at most 255 characters.
  private static func bounded(_ word: String) -> String {
    String(String.UnicodeScalarView(word.unicodeScalars.prefix(64)))
  }

  private static func wholeWords(_ text: String) -> [String] {
    let plain = text.decomposedStringWithCompatibilityMapping.lowercased().unicodeScalars
      .filter { $0.properties.generalCategory != .nonspacingMark }
    return String(String.UnicodeScalarView(plain))
      .split { !$0.isLetter && !$0.isNumber && !"._-".contains($0) }.map(String.init)
  }

  /// Prepares a connection for searches.
  ///
  /// The threshold says how similar a long word must be to a stored word to be checked for a typo. Each search gets
  /// its own plan, since rare and common words, and first and later pages, need different plans.
  @Sendable public static func prepare(_ connection: PostgresConnection) async throws {
    try await connection.execute(
      "set pg_trgm.word_similarity_threshold = 0.2; set plan_cache_mode = force_custom_plan")
  }

  /// The number of letters from which a word may have a typo.
  static let longWord = 6

  /// Returns a condition and a rank for the first eight words of a query. Each word must match the beginning of a
  /// word in the column. A long word also matches with one typo. The rank says how well the words match, from 0 to
  /// 1000.
  /// - Parameters:
  ///   - query: what the user has typed.
  ///   - column: a column of `Column.search`, in which words must match.
  ///   - details: another column, in which words may match by their beginnings too. Rows that match all words in the
  ///     first column then rank 1000 higher.
  ///   - conditions: gets the bound values, and no condition.
  /// - Returns: nil if the query has no words.
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
  ///   - bound: the word's placeholder in the SQL.
  ///   - pattern: the placeholder of a pattern for texts with a word that begins like it.
  private static func condition(
    _ word: String, _ bound: String, _ pattern: String, _ column: String, _ conditions: inout Conditions
  ) -> String {
    guard word.count >= longWord else { return "\(column) like \(pattern)" }
    // Two swapped neighbouring letters count as one typo too.
    let letters = Array(word)
    let swapped = letters.indices.dropLast().map { index in
      var letters = letters
      letters.swapAt(index, index + 1)
      return String(letters)
    }
    let variants = conditions.bind(PostgresArray(swapped))
    // The index finds similar words, at the threshold that `prepare` sets; each word is then compared. Rows from
    // before words were cut may have words that are too long to compare: `case` skips them.
    return """
      (\(column) like \(pattern) or (\(bound) <% \(column) and exists (
        select from unnest(string_to_array(\(column), ' ')) w
        where w = any(\(variants))
          or case when abs(length(w) - length(\(bound))) <= 1 then levenshtein_less_equal(w, \(bound), 1) <= 1 end)))
      """
  }
}
