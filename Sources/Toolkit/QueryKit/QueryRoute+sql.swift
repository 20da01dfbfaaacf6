internal import Foundation
internal import HTTPKit
internal import Hummingbird
internal import JSON
internal import Postgres
public import Projections

// Queries in hand-written SQL, for data of several read models.
extension QueryRoute {
  /// Returns a route for the first row that a query finds; 404 if it finds none.
  ///
  ///     .row("/v1/people/{id}", Profile.self, of: People(), Follows(), sql: """
  ///       select p.key as id, p.document ->> 'name' as name,
  ///         (select count(*) from read_models.follows where followee = p.key) as followers
  ///       from read_models.people p where p.key = {id}
  ///       """)
  /// - Parameters:
  ///   - path: the path, with the parameters that the query uses.
  ///   - row: the type of a row.
  ///   - models: the read models that the query reads.
  ///   - sql: a query without `;`. Its columns have the names of the row's members: quote them as in `as "placedAt"`,
  ///     since PostgreSQL turns an unquoted name into `placedat`. `{id}` stands for the path's parameter of that name,
  ///     as text. `{number::bigint}` gives it another type: bigint, boolean, date, double precision, timestamptz or
  ///     uuid. Write an array such as `'{red}'` as `array['red']`. The SQL is part of the program, never input.
  public static func row<Row: Codable & Sendable>(
    _ path: String, _ row: Row.Type, of models: any ReadModel..., sql: String
  ) -> QueryRoute {
    let own = OwnQuery<Row>(path, sql)
    return QueryRoute(
      path: path, models: models.map(\.name), parameters: [], shape: own.shape, isList: false,
      summary: "One \(Row.self).", problem: own.problem, probe: own.probe
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

  /// Returns a route for the rows that a query finds, in pages.
  /// - Parameters:
  ///   - path: the path, with the parameters that the query uses.
  ///   - row: the type of a row.
  ///   - models: the read models that the query reads.
  ///   - order: members of the row. No two rows may be equal in all of them, and none of them may be null.
  ///   - sql: as for one row, without a sort order and without a limit.
  public static func list<Row: Codable & Sendable>(
    _ path: String, _ row: Row.Type, of models: any ReadModel..., order: ListOrder, sql: String
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
          : "\(path) must be sorted by members of \(Row.self), which are texts, numbers, times or ids and always there"),
      probe: own.probe
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

/// SQL that contains names of parameters, and the type of its rows.
private struct OwnQuery<Row: Codable & Sendable>: Sendable {
  let shape = JSONShape(of: Row.self)
  let problem: String?
  /// For each parameter: the SQL before it, its name and its type.
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

  /// Names every column that a row must have. Reads no row.
  var probe: String {
    let sql = parts.map { "\($0.sql)null::\($0.type)" }.joined() + end
    var columns: [String] = []
    if case .object(let members) = shape { columns = members.filter { !$0.isOptional }.map { "q.\"\($0.name)\"" } }
    return "select \(columns.joined(separator: ", ")) from (\(sql)\n) q limit 0"
  }

  /// - Throws: a `Problem` (404) if a parameter of the path is not a value of its type.
  func sql(_ context: ServiceContext, _ conditions: inout Conditions) throws -> String {
    try parts.map { part in
      let text = try context.pathParameter(part.name)
      guard let value = columnText(text, part.type) else {
        throw Problem.notFound("There is nothing with this \(part.name).")
      }
      return "\(part.sql)\(conditions.bind(value))::text::\(part.type)"
    }.joined() + end
  }

  /// Returns the expressions to sort by, with their PostgreSQL types; nil if the rows cannot be sorted by these
  /// members.
  func terms(_ order: ListOrder) -> [(sql: String, type: String)]? {
    guard case .object(let members) = shape else { return nil }
    let terms = order.columns.compactMap { name -> (sql: String, type: String)? in
      guard let member = members.first(where: { $0.name == name && !$0.isOptional }), let type = member.shape.columnType
      else { return nil }
      // The cast matters if the SQL returns another type, which may sort differently.
      return ("(q.\"\(name)\")::\(type)", type)
    }
    return terms.count == order.columns.count ? terms : nil
  }

  /// Returns the row as it is sent. Decodes it as `Row` first, since the SQL may return something else.
  func encoded(_ row: [UInt8]) throws -> [UInt8] {
    let row: Row = try JSON(parsing: row).decode()
    return try JSONWriter.bytes(encoding: row, absentAsNull: true)
  }
}

extension JSONShape {
  /// The PostgreSQL type to sort by; nil if values of this shape cannot be sorted.
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
