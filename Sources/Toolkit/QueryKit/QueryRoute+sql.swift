internal import Foundation
internal import Hummingbird
internal import JSON
internal import Postgres
public import Projections
internal import ServiceKit

// Queries in SQL of one's own, for what lies in several read models.
extension QueryRoute {
  /// The row that a query finds, the first if it finds several; 404 where it finds none.
  ///
  ///     .row("/v1/people/{id}", Profile.self, of: People(), Follows(), sql: """
  ///       select p.key as id, p.document ->> 'name' as name,
  ///         (select count(*) from read_models.follows where followee = p.key) as followers
  ///       from read_models.people p where p.key = {id}
  ///       """)
  /// - Parameters:
  ///   - models: that the query reads.
  ///   - sql: a query, without `;`, whose columns are called as the row's members are: `as "placedAt"`, since PostgreSQL takes what is
  ///     not quoted for `placedat`. `{id}` stands for the path's parameter of that name, as a text; `{number::bigint}` for one of
  ///     another type: bigint, boolean, date, double precision, timestamptz or uuid. An array such as `'{red}'` is written
  ///     `array['red']`. It is the program's own, never input.
  public static func row<Row: Codable & Sendable>(
    _ path: String, _: Row.Type, of models: any ReadModel..., sql: String
  ) -> QueryRoute {
    let own = OwnQuery<Row>(path, sql)
    return QueryRoute(
      path: path, models: models.map(\.name), parameters: [], shape: own.shape, isList: false,
      summary: "One \(Row.self).", problem: own.problem
    ) { [reads = models.map { Reads($0.name) }] queries, request, context in
      try QueryParameters(request).finish()
      var conditions = Conditions()
      let query = "select row_to_json(q) from (\(try own.sql(context, &conditions))\n) q limit 1"
      return try await queries.responder.answer(
        request, reads, missing: "There is nothing at \(request.uri.path), or it has not come here yet."
      ) { [binds = conditions.binds] access in
        let rows = try await access.lists.query(Query(query, binds)).decode(PostgresBytes.self)
        return try rows.first.map { QueryResult(bytes: try own.encoded($0.bytes)) }
      }
    }
  }

  /// The rows that a query finds, in pages.
  /// - Parameters:
  ///   - models: that the query reads.
  ///   - order: by members of the row, of which no two rows have the same and none is null.
  ///   - sql: as for one row, unsorted and without a limit.
  public static func list<Row: Codable & Sendable>(
    _ path: String, _: Row.Type, of models: any ReadModel..., order: ListOrder, sql: String
  ) -> QueryRoute {
    let own = OwnQuery<Row>(path, sql)
    let terms = own.terms(order)
    let page = PageOrder(terms: terms ?? [], isDescending: order.isDescending)
    return QueryRoute(
      path: path, models: models.map(\.name), parameters: Self.page, shape: own.shape, isList: true,
      summary: "\(Row.self) by \(Row.self).",
      problem: own.problem
        ?? (terms?.isEmpty == false
          ? nil
          : "\(path) must be sorted by members of \(Row.self), which are texts, numbers, times or ids and always there")
    ) { [reads = models.map { Reads($0.name) }] queries, request, context in
      var parameters = QueryParameters(request)
      let limit = try parameters.limit(default: 20, atMost: 100)
      let cursor = try parameters.cursor { page.values($0) }
      let tag = parameters.tag
      try parameters.finish()
      var conditions = Conditions()
      let rows = try own.sql(context, &conditions)
      let after = cursor.map { page.isAfter($0, &conditions) } ?? "true"
      let count = conditions.bind(Int64(limit + 1))
      let query = Query(
        "select row_to_json(q), \(page.place) from (\(rows)\n) q where \(after) \(page.sorting) limit \(count)",
        conditions.binds)
      return try await queries.responder.answer(request, reads) { access in
        let rows = try await access.lists.query(query).decode((PostgresBytes, PostgresBytes).self)
        return page.page(try rows.map { (try own.encoded($0.0.bytes), $0.1.bytes) }, limit, tag)
      }
    }
  }
}

/// SQL with the names of parameters in it, and the type of its rows.
private struct OwnQuery<Row: Codable & Sendable>: Sendable {
  let shape = JSONShape(of: Row.self)
  let problem: String?
  /// What stands before each parameter.
  private let parts: [(sql: String, name: String, type: String)]
  private let end: String

  init(_ path: String, _ sql: String) {
    var (rest, parts) = (sql[...], [(sql: String, name: String, type: String)]())
    while let match = rest.firstMatch(of: /{([A-Za-z_][A-Za-z0-9_]*)(?:::([a-z ]+))?}/) {
      parts.append((String(rest[..<match.range.lowerBound]), String(match.1), match.2.map(String.init) ?? "text"))
      rest = rest[match.range.upperBound...]
    }
    (self.parts, end) = (parts, String(rest))
    let known = pathParameters(of: path)
    problem =
      parts.lazy.compactMap { part in
        if !known.contains(part.name) {
          return "the SQL of \(path) has {\(part.name)}, which is no parameter of the path"
        }
        return columnTypes.contains(part.type)
          ? nil
          : "the SQL of \(path) has {\(part.name)} of the type \(part.type); it can be one of \(columnTypes.joined(separator: ", "))"
      }.first
  }

  /// - Throws: a `Problem` for what cannot be a value of its type.
  func sql(_ context: ServiceContext, _ conditions: inout Conditions) throws -> String {
    try parts.map { part in
      let text = try context.pathParameter(part.name)
      guard let value = columnText(text, part.type) else {
        throw Problem.notFound("What the path names as \(part.name) is nothing that is here.")
      }
      return "\(part.sql)\(conditions.bind(value))::text::\(part.type)"
    }.joined() + end
  }

  /// What rows are sorted by, with PostgreSQL's types; nil where that is not possible.
  func terms(_ order: ListOrder) -> [(sql: String, type: String)]? {
    guard case .object(let members) = shape else { return nil }
    let terms = order.columns.compactMap { name -> (sql: String, type: String)? in
      guard let member = members.first(where: { $0.name == name && !$0.isOptional }), let type = member.shape.columnType
      else { return nil }
      // The SQL may give another type, by which it is not sorted then.
      return ("(q.\"\(name)\")::\(type)", type)
    }
    return terms.count == order.columns.count ? terms : nil
  }

  /// As it is sent: read as the type says, since the SQL may give something else.
  func encoded(_ row: [UInt8]) throws -> [UInt8] {
    let row: Row = try JSON(parsing: row).decode()
    var json = JSONWriter()
    try json.write(encoding: row, absentAsNull: true)
    return json.bytes
  }
}

extension JSONShape {
  /// The PostgreSQL type of what can be sorted by.
  fileprivate var columnType: String? {
    switch self {
    case .string, .choice: "text"
    case .integer: "bigint"
    case .number: "double precision"
    case .boolean: "boolean"
    case .formatted(.time): "timestamptz"
    case .formatted(.date): "date"
    case .formatted(.uuid): "uuid"
    case .array, .object, .unknown: nil
    }
  }
}
