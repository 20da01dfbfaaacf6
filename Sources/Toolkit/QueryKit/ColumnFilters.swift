internal import EventSourcing
internal import Foundation
internal import JSON
internal import Projections
internal import ServiceKit

/// Which columns must have a value: those that the path names, and of others those that the request's parameters name.
struct ColumnFilters: Sendable {
  /// With their PostgreSQL types.
  private let columns: [(name: String, type: String)]
  private let ofPath: [String]
  let ofRequest: [String]

  init(_ path: String, _ filters: [String], of columns: [(name: String, type: String)]) {
    self.columns = columns
    ofPath = pathParameters(of: path)
    ofRequest = filters.filter { [ofPath] in !ofPath.contains($0) }
  }

  /// A filter that is no column.
  var stray: String? { (ofPath + ofRequest).first { name in !columns.contains { $0.name == name } } }

  /// Adds what a request asks for to the conditions.
  /// - Throws: a `Problem` for what cannot be a value of its column: 404 where the path has it, 400 elsewhere.
  func add(
    _ context: ServiceContext, _ parameters: inout QueryParameters, to conditions: inout Conditions
  ) throws {
    for name in ofPath {
      try require(name, try context.pathParameter(name), &conditions) { _ in
        Problem.notFound("What the path names as \(name) is nothing that is here.")
      }
    }
    for name in ofRequest {
      guard let text = try parameters.text(name, problem: { _ in nil }) else { continue }
      try require(name, text, &conditions) { QueryParameters.wrong(name, "must be \($0)") }
    }
  }

  private func require(
    _ name: String, _ text: String, _ conditions: inout Conditions, wrong: (String) -> Problem
  ) throws {
    guard let column = columns.first(where: { $0.name == name }) else { throw Problem.internalError }
    if let kind = missedKind(text, column.type) { throw wrong(kind) }
    conditions.add("\(name) = \(conditions.bind(text))::text::\(column.type)")
  }
}

/// What a page of a list is sorted by: all upwards or all downwards, so that a page begins with one comparison.
struct PageOrder: Sendable {
  /// Expressions with their PostgreSQL types, none of them null, and no two elements alike in all of them.
  let terms: [(sql: String, type: String)]
  let isDescending: Bool

  /// SQL for an element's place, a JSON array of texts: what a cursor holds.
  var place: String {
    let texts = terms.map { $0.type == "timestamptz" ? textOfTime($0.sql) : "(\($0.sql))::text" }
    return "json_build_array(\(texts.joined(separator: ", ")))"
  }

  var sorting: String {
    terms.isEmpty ? "" : "order by " + terms.map { $0.sql + (isDescending ? " desc" : "") }.joined(separator: ", ")
  }

  /// - Returns: nil where the cursor is none of this list's.
  func values(_ cursor: String) -> [String]? {
    guard let text = OpaqueCursor.decode(cursor), let json = try? JSON(parsing: Array(text.utf8)) else { return nil }
    let values = json.array?.compactMap(\.string) ?? []
    guard !terms.isEmpty, values.count == terms.count,
      zip(values, terms).allSatisfy({ missedKind($0, $1.type) == nil })
    else { return nil }
    return values
  }

  /// A condition that an element comes after the cursor's.
  func isAfter(_ values: [String], _ conditions: inout Conditions) -> String {
    let place = zip(values, terms).map { "\(conditions.bind($0))::text::\($1.type)" }.joined(separator: ", ")
    return "(\(terms.map(\.sql).joined(separator: ", "))) \(isDescending ? "<" : ">") (\(place))"
  }

  /// - Parameters:
  ///   - rows: elements with their places, one more than the page has where more follow.
  ///   - tag: of the query.
  func page(_ rows: [(element: [UInt8], place: [UInt8])], _ limit: Int, _ tag: String) -> QueryResult {
    let next = rows.count > limit ? String(decoding: rows[limit - 1].place, as: UTF8.self) : nil
    return QueryResult(
      items: rows.prefix(limit).map(\.element), next: next.map { tag + OpaqueCursor.encode($0) })
  }
}

/// The PostgreSQL types whose values can be read from texts.
let columnTypes = ["text", "bigint", "boolean", "date", "double precision", "timestamptz", "uuid"]

/// - Returns: what values of that PostgreSQL type must be, where the text is none; nil where it is one.
func missedKind(_ text: String, _ type: String) -> String? {
  switch type {
  case "bigint": Int64(text) == nil ? "a whole number" : nil
  case "boolean": ["true", "false"].contains(text) ? nil : "true or false"
  // Swift knows more ways to write one than PostgreSQL.
  case "double precision":
    text.wholeMatch(of: /-?[0-9]{1,17}(\.[0-9]{1,17})?(e[+-]?[0-9]{1,2})?/) == nil ? "a number" : nil
  case "uuid": UUID(uuidString: text) == nil ? "a UUID" : nil
  case "timestamptz": Timestamp(text) == nil ? "a time as in RFC 3339, such as 2026-11-21T09:30:00Z" : nil
  case "date": QueryParameters.isDay(text) ? nil : "a day such as 2026-11-21"
  default: text.unicodeScalars.contains("\0") ? "a text without NUL" : nil
  }
}
