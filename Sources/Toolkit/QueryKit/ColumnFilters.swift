internal import EventSourcing
internal import Foundation
internal import HTTPKit
internal import JSON
internal import Projections

/// A column, and the value that it must have.
struct ColumnFilter: Sendable {
  let name: String
  /// The PostgreSQL type.
  let type: String
  /// As `columnText` returns it.
  let value: String
}

extension Conditions {
  mutating func add(_ filters: [ColumnFilter]) {
    for filter in filters { add("\(filter.name) = \(bind(filter.value))::text::\(filter.type)") }
  }
}

/// The columns that a query filters by: those that the path names, and those that the request's parameters name.
struct ColumnFilters: Sendable {
  /// Names and PostgreSQL types.
  private let columns: [(name: String, type: String)]
  private let ofPath: [String]
  let ofRequest: [String]

  init(_ path: String, _ filters: [String], of columns: [(name: String, type: String)]) {
    self.columns = columns
    ofPath = pathParameters(of: path)
    ofRequest = filters.filter { [ofPath] in !ofPath.contains($0) }
  }

  /// The first filter that is not a column.
  var stray: String? { (ofPath + ofRequest).first { name in !columns.contains { $0.name == name } } }

  /// Returns the filters of a request.
  /// - Throws: a `Problem` for a text that is not a value of its column: 404 in the path, 400 in a parameter.
  func filters(_ context: ServiceContext, _ parameters: inout QueryParameters) throws -> [ColumnFilter] {
    var filters = try ofPath.map { name in
      try filter(name, try context.pathParameter(name)) { _ in
        Problem.notFound("There is nothing with this \(name).")
      }
    }
    for name in ofRequest {
      guard let text = try parameters.text(name, problem: { _ in nil }) else { continue }
      filters.append(try filter(name, text) { QueryParameters.wrong(name, "must be \($0)") })
    }
    return filters
  }

  private func filter(_ name: String, _ text: String, wrong: (String) -> Problem) throws -> ColumnFilter {
    guard let column = columns.first(where: { $0.name == name }) else { throw Problem.internalError }
    guard let value = columnText(text, column.type) else { throw wrong(kind(of: column.type)) }
    return ColumnFilter(name: name, type: column.type, value: value)
  }
}

/// The order of a list in pages: all ascending or all descending, so that one comparison finds the start of a page.
struct PageOrder: Sendable {
  /// Expressions with their PostgreSQL types. None is null, and no two elements are equal in all of them.
  let terms: [(sql: String, type: String)]
  let isDescending: Bool

  /// SQL of an element's place: a JSON array of texts. A cursor holds it.
  var place: String {
    let texts = terms.map { term in
      switch term.type {
      case "timestamptz": textOfTime(term.sql)
      // Does not depend on the session's DateStyle.
      case "date": "to_char(\(term.sql), 'YYYY-MM-DD')"
      default: "(\(term.sql))::text"
      }
    }
    return "json_build_array(\(texts.joined(separator: ", ")))"
  }

  var sorting: String {
    terms.isEmpty ? "" : "order by " + terms.map { $0.sql + (isDescending ? " desc" : "") }.joined(separator: ", ")
  }

  /// - Returns: the texts of a cursor; nil if it is not a cursor of this list.
  func values(_ cursor: String) -> [String]? {
    guard let text = OpaqueCursor.decode(cursor), let json = try? JSON(parsing: Array(text.utf8)) else { return nil }
    let texts = json.array?.compactMap(\.string) ?? []
    guard !terms.isEmpty, texts.count == terms.count else { return nil }
    let values = zip(texts, terms).compactMap { columnText($0, $1.type) }
    return values.count == terms.count ? values : nil
  }

  /// Returns the condition that an element comes after the cursor's place.
  func isAfter(_ values: [String], _ conditions: inout Conditions) -> String {
    let place = zip(values, terms).map { "\(conditions.bind($0))::text::\($1.type)" }.joined(separator: ", ")
    return "(\(terms.map(\.sql).joined(separator: ", "))) \(isDescending ? "<" : ">") (\(place))"
  }

  /// - Parameters:
  ///   - rows: elements with their places, one more than `limit` if more follow.
  ///   - tag: the tag of the query, with which its cursors begin.
  func page(_ rows: [(element: [UInt8], place: [UInt8])], _ limit: Int, _ tag: String) -> QueryResult {
    let next = rows.count > limit ? String(decoding: rows[limit - 1].place, as: UTF8.self) : nil
    return QueryResult(
      items: rows.prefix(limit).map(\.element), next: next.map { tag + OpaqueCursor.encode($0) })
  }
}

/// The PostgreSQL types whose values can be read from text.
let columnTypes = ["text", "bigint", "boolean", "date", "double precision", "timestamptz", "uuid"]

/// - Returns: a value of that PostgreSQL type, as text that PostgreSQL reads; nil if the text is not such a value.
func columnText(_ text: String, _ type: String) -> String? {
  switch type {
  case "bigint": Int64(text).map { String($0) }
  case "boolean": ["true", "false"].contains(text) ? text : nil
  // Swift also accepts hexadecimal numbers, infinities and NaN.
  case "double precision":
    text.utf8.allSatisfy { "0123456789+-.eE".utf8.contains($0) }
      ? Double(text).flatMap { $0.isFinite ? "\($0)" : nil } : nil
  case "uuid": UUID(uuidString: text)?.uuidString
  // PostgreSQL accepts fewer offsets and fewer digits.
  case "timestamptz": Timestamp(text)?.fullDescription
  case "date": QueryParameters.isDay(text) ? text : nil
  default: text.unicodeScalars.contains("\0") ? nil : text
  }
}

/// Returns what a value of that PostgreSQL type must be, for error messages.
private func kind(of type: String) -> String {
  switch type {
  case "bigint": "a whole number"
  case "boolean": "true or false"
  case "double precision": "a number"
  case "uuid": "a UUID"
  case "timestamptz": "a time as in RFC 3339, such as 2026-11-21T09:30:00Z"
  case "date": "a day such as 2026-11-21"
  default: "a text without NUL"
  }
}
