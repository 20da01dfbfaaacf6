internal import EventSourcing
internal import Foundation
internal import Hummingbird
internal import JSON
internal import Postgres
public import Projections
internal import ServiceKit

/// How a list is sorted: by columns of its read model, all upwards or all downwards, and where these are equal by key.
public struct ListOrder: Sendable {
  let columns: [String]
  let isDescending: Bool

  /// - Parameter columns: not null, and best with an index of these and `key`.
  public static func ascending(_ columns: String...) -> ListOrder { ListOrder(columns: columns, isDescending: false) }
  public static func descending(_ columns: String...) -> ListOrder { ListOrder(columns: columns, isDescending: true) }
}

extension QueryRoute {
  /// A read model's rows, in pages.
  /// - Parameters:
  ///   - filters: columns that must have a value: that of a path's parameter of this name, or else of a query's parameter, where
  ///     one is given.
  ///   - search: a column of words: the parameter `q` looks for some in it, and sorts by how well they fit.
  ///   - limits: elements of a page: if nothing is said, and at most.
  public static func list<Model: ReadModel>(
    _ path: String, _ model: Model, filters: [String] = [], order: ListOrder = .ascending(), search: String? = nil,
    limits: (usual: Int, most: Int) = (20, 100)
  ) -> QueryRoute {
    let list = RowList(model, order, search)
    let named = pathParameters(of: path)
    let free = filters.filter { !named.contains($0) }
    return QueryRoute(
      path: path, models: [model.name],
      parameters: free.map { ($0, "rows with this \($0)") }
        + (search == nil ? [] : [("q", "words to look for")]) + page,
      shape: (Model.Row.self as? any Decodable.Type).map { JSONShape(of: $0) }, isList: true,
      summary: "Rows of \(model.name).",
      problem: list.problem(named + free, search: search)
    ) { queries, request, context in
      var parameters = QueryParameters(request)
      var conditions = Conditions()
      for name in named {
        try list.require(name, try context.pathParameter(name), &conditions) { _ in
          Problem.notFound("What the path names as \(name) is nothing that is here.")
        }
      }
      for name in free {
        guard let text = try parameters.text(name, problem: { _ in nil }) else { continue }
        try list.require(name, text, &conditions) { QueryParameters.wrong(name, "must be \($0)") }
      }
      let text = search == nil ? nil : try parameters.search()
      let limit = try parameters.limit(default: limits.usual, atMost: limits.most)
      let order = try list.order(text, &conditions)
      let cursor = try parameters.cursor { order.values($0) }
      let tag = parameters.tag
      try parameters.finish()
      let query = list.query(conditions, order, after: cursor, limit: limit)
      return try await queries.responder.answer(request, [Reads(model.name)]) { access in
        let rows = try await access.lists.query(query).decode((PostgresBytes, PostgresBytes).self)
        return QueryResult(
          items: rows.prefix(limit).map(\.0.bytes),
          next: rows.count > limit
            ? tag + OpaqueCursor.encode(String(decoding: rows[limit - 1].1.bytes, as: UTF8.self)) : nil)
      }
    }
  }

  /// A read model's totals, a JSON object for each group: what it is formed by, its sums, and the smallest and largest of each
  /// range.
  /// - Parameters:
  ///   - name: of the totals.
  ///   - isDescending: sorted downwards by what the groups are formed by.
  public static func totals<Model: ReadModel>(
    _ path: String, _ name: String, of model: Model, isDescending: Bool = false
  ) -> QueryRoute {
    let totals = TotalsList(name, model.totals)
    let named = pathParameters(of: path)
    let free = totals.groups.map(\.name).filter { !named.contains($0) }
    return QueryRoute(
      path: path, models: [model.name], parameters: free.map { ($0, "groups with this \($0)") } + [page[0]], shape: nil,
      isList: true,
      summary: "Totals of \(model.name).", problem: totals.problem(named, of: model.name)
    ) { queries, request, context in
      var parameters = QueryParameters(request)
      var conditions = Conditions()
      for name in named {
        try totals.require(name, try context.pathParameter(name), &conditions) { _ in
          Problem.notFound("What the path names as \(name) is nothing that is here.")
        }
      }
      for name in free {
        guard let text = try parameters.text(name, problem: { _ in nil }) else { continue }
        try totals.require(name, text, &conditions) { QueryParameters.wrong(name, "must be \($0)") }
      }
      let limit = try parameters.limit(default: 100, atMost: 1000)
      try parameters.finish()
      let query = totals.query(conditions, isDescending: isDescending, limit: limit)
      return try await queries.responder.answer(request, [Reads(model.name)]) { access in
        QueryResult(items: try await access.lists.query(query).decode(PostgresBytes.self).map(\.bytes), next: nil)
      }
    }
  }
}

/// A value of a column, as a request has it.
enum ColumnText {
  /// - Returns: what values of that PostgreSQL type must be, where the text is none; nil where it is one.
  static func problem(_ text: String, _ type: String) -> String? {
    switch type {
    case "bigint", "integer": Int64(text) == nil ? "a whole number" : nil
    case "boolean": ["true", "false"].contains(text) ? nil : "true or false"
    case "double precision": Double(text) == nil ? "a number" : nil
    case "uuid": UUID(uuidString: text) == nil ? "a UUID" : nil
    case "timestamptz": Timestamp(text) == nil ? "a time as in RFC 3339, such as 2026-11-21T09:30:00Z" : nil
    case "date": QueryParameters.isDay(text) ? nil : "a day such as 2026-11-21"
    default: nil
    }
  }

  /// Adds the condition that a column has the value.
  /// - Parameter wrong: given what values must be, where the text is none.
  static func require(
    _ name: String, _ text: String, of columns: [(name: String, type: String)], _ conditions: inout Conditions,
    wrong: (String) -> Problem
  ) throws {
    guard let column = columns.first(where: { $0.name == name }) else { throw Problem.internalError }
    if let problem = problem(text, column.type) { throw wrong(problem) }
    conditions.add("\(name) = \(conditions.bind(text))::text::\(column.type)")
  }
}

/// The query of a list.
private struct RowList: Sendable {
  /// What rows are sorted by, for one request.
  struct Order {
    /// Expressions with their PostgreSQL types; the key is the last.
    let terms: [(sql: String, type: String)]
    let isDescending: Bool

    /// What a cursor holds: a value for each term, as text; nil where it is none of this list.
    func values(_ cursor: String) -> [String]? {
      guard let text = OpaqueCursor.decode(cursor), let json = try? JSON(parsing: Array(text.utf8)) else { return nil }
      let values = json.array?.compactMap(\.string) ?? []
      guard values.count == terms.count, zip(values, terms).allSatisfy({ isValue($0, $1.type) }) else { return nil }
      return values
    }

    /// As PostgreSQL has written it: its times are not as in RFC 3339.
    private func isValue(_ text: String, _ type: String) -> Bool {
      type == "timestamptz"
        ? text.wholeMatch(of: /[0-9]{4,6}-[0-9]{2}-[0-9]{2} [0-9:.]{8,15}[+-][0-9:]{2,8}/) != nil
        : ColumnText.problem(text, type) == nil && !text.unicodeScalars.contains("\0")
    }
  }

  private let name: String
  private let columns: [(name: String, type: String)]
  private let nullable: [String]
  private let usual: Order
  private let search: String?

  init<Model: ReadModel>(_ model: Model, _ order: ListOrder, _ search: String?) {
    name = model.name
    let columns = model.columns.map { (name: $0.name, type: $0.type) } + [(name: "key", type: "text")]
    self.columns = columns
    nullable = model.columns.filter(\.mayBeNull).map(\.name)
    self.search = search
    let terms = order.columns.map { name in (sql: name, type: columns.first { $0.name == name }?.type ?? "text") }
    usual = Order(terms: terms + [(sql: "key", type: "text")], isDescending: order.isDescending)
  }

  /// Why the list cannot work; nil for nothing.
  func problem(_ filters: [String], search: String?) -> String? {
    let sorted = usual.terms.map(\.sql)
    if let stray = (filters + sorted + [search].compactMap { $0 }).first(where: { name in
      !columns.contains { $0.name == name }
    }) {
      return "the read model \(name) has no column \(stray), by which a list of it is filtered, sorted or searched"
    }
    return sorted.first(where: nullable.contains).map {
      "a list of the read model \(name) cannot be sorted by \($0), which may be null"
    }
  }

  func require(
    _ column: String, _ text: String, _ conditions: inout Conditions, wrong: (String) -> Problem
  ) throws { try ColumnText.require(column, text, of: columns, &conditions, wrong: wrong) }

  /// Adds what is searched for to the conditions.
  func order(_ text: String?, _ conditions: inout Conditions) throws -> Order {
    guard let text, let search else { return usual }
    guard let match = SearchText.match(text, search, &conditions) else {
      throw QueryParameters.wrong("q", "must have a letter or a digit")
    }
    conditions.add(match.condition)
    return Order(terms: [(match.rank, "bigint"), ("key", "text")], isDescending: true)
  }

  func query(_ conditions: Conditions, _ order: Order, after cursor: [String]?, limit: Int) -> Query {
    var conditions = conditions
    let terms = order.terms.map(\.sql).joined(separator: ", ")
    if let cursor {
      let place = zip(cursor, order.terms).map { "\(conditions.bind($0))::text::\($1.type)" }.joined(separator: ", ")
      conditions.add("(\(terms)) \(order.isDescending ? "<" : ">") (\(place))")
    }
    let sorting = order.terms.map { $0.sql + (order.isDescending ? " desc" : "") }.joined(separator: ", ")
    let place = order.terms.map { "(\($0.sql))::text" }.joined(separator: ", ")
    let count = conditions.bind(Int64(limit + 1))
    return Query(
      """
      select document, json_build_array(\(place)) from read_models.\(name) where \(conditions.sql)
      order by \(sorting) limit \(count)
      """, conditions.binds)
  }
}

/// The query of totals.
private struct TotalsList: Sendable {
  let groups: [(name: String, type: String)]
  private let name: String
  private let sums: [String]
  private let ranges: [String]

  init<Row>(_ name: String, _ totals: [Totals<Row>]) {
    let tables = totals.flatMap(\.tables).map(\.description)
    let own = tables.first { $0.name == name }
    self.name = name
    sums = own?.sums ?? []
    // Of a range there is a table beside, with the groups and `value`.
    let beside = tables.filter { $0.name.hasPrefix(name + "_") && $0.keys.last?.name == "value" && $0.sums == ["n"] }
    ranges = beside.map { String($0.name.dropFirst(name.count + 1)) }
    groups = own?.keys ?? beside.first.map { Array($0.keys.dropLast()) } ?? []
  }

  /// Why the list cannot work; nil for nothing.
  func problem(_ filters: [String], of model: String) -> String? {
    guard !sums.isEmpty || !ranges.isEmpty else { return "the read model \(model) has no totals \(name)" }
    return filters.first { filter in !groups.contains { $0.name == filter } }.map {
      "the totals \(name) are not formed by \($0)"
    }
  }

  func require(
    _ group: String, _ text: String, _ conditions: inout Conditions, wrong: (String) -> Problem
  ) throws { try ColumnText.require(group, text, of: groups, &conditions, wrong: wrong) }

  func query(_ conditions: Conditions, isDescending: Bool, limit: Int) -> Query {
    var conditions = conditions
    let names = groups.map(\.name)
    let list = names.joined(separator: ", ")
    let from = sums.isEmpty ? "read_models.\(name)_\(ranges.first ?? "")" : "read_models.\(name)"
    let members =
      names.map { "'\($0)', g.\($0)" } + sums.map { "'\($0)', g.\($0)" }
      + ranges.map { "'\($0)', json_build_object('smallest', \($0).smallest, 'largest', \($0).largest)" }
    let totals = sums.map { ", sum(\($0)) as \($0)" }.joined()
    let isSome = sums.isEmpty ? "sum(n) > 0" : sums.map { "sum(\($0)) <> 0" }.joined(separator: " or ")
    let beside = ranges.map { range in
      let same = names.map { "\($0) = g.\($0)" }.joined(separator: " and ")
      return """
         cross join lateral (select min(value) as smallest, max(value) as largest from (
          select value from read_models.\(name)_\(range) where \(same.isEmpty ? "true" : same)
          group by value having sum(n) > 0) v) \(range)
        """
    }.joined()
    let sorting = names.map { "g.\($0)" + (isDescending ? " desc" : "") }.joined(separator: ", ")
    let count = conditions.bind(Int64(limit))
    return Query(
      """
      select json_build_object(\(members.joined(separator: ", "))) from (
        select \(list.isEmpty ? "1" : list)\(totals) from \(from) where \(conditions.sql)
        \(list.isEmpty ? "" : "group by \(list)") having \(isSome)) g\(beside)
      \(sorting.isEmpty ? "" : "order by \(sorting)") limit \(count)
      """, conditions.binds)
  }
}
