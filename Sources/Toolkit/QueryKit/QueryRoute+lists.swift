internal import HTTPKit
internal import JSON
internal import Postgres
public import Projections

/// The order of a list: by columns of its read model, all ascending or all descending, and then by key.
public struct ListOrder: Sendable {
  let columns: [String]
  let isDescending: Bool

  /// Sorts by columns, smallest value first.
  /// - Parameter columns: must not be null; an index on them and `key` makes the list fast.
  public static func ascending(_ columns: String...) -> ListOrder { ListOrder(columns: columns, isDescending: false) }
  /// Sorts by columns, largest value first.
  /// - Parameter columns: must not be null; an index on them and `key` makes the list fast.
  public static func descending(_ columns: String...) -> ListOrder { ListOrder(columns: columns, isDescending: true) }
}

extension QueryRoute {
  /// Returns a route for the rows of a read model, in pages.
  /// - Parameters:
  ///   - path: the path.
  ///   - model: the read model.
  ///   - filters: columns that a request may filter by, with parameters of the same names. Parameters of the path are
  ///     columns that are always filtered by.
  ///   - order: how the rows are sorted.
  ///   - search: a column of words. The parameter `q` searches it, and sorts the rows by how well they match.
  public static func list<Model: ReadModel>(
    _ path: String, _ model: Model, filters: [String] = [], order: ListOrder = .ascending(), search: String? = nil
  ) -> QueryRoute {
    let columns = model.columns.map { (name: $0.name, type: $0.type) } + [(name: "key", type: "text")]
    let filtering = ColumnFilters(path, filters, of: columns)
    let sorted = order.columns + ["key"]
    let types = sorted.map { name in (sql: name, type: columns.first { $0.name == name }?.type ?? "text") }
    let usual = PageOrder(terms: types, isDescending: order.isDescending)
    return QueryRoute(
      path: path, models: [model.name],
      parameters: filtering.ofRequest.map { ($0, "rows with this \($0)") }
        + (search == nil ? [] : [("q", "words to look for")]) + page,
      shape: (Model.Row.self as? any Decodable.Type).map { JSONShape(of: $0) }, isList: true,
      summary: "Rows of \(model.name).", problem: problem(model, filtering.stray, sorted, search)
    ) { queries, request, context in
      var parameters = QueryParameters(request)
      let filters = try filtering.filters(context, &parameters)
      var conditions = Conditions()
      conditions.add(filters)
      var (order, isSearch) = (usual, false)
      if let search, let text = try parameters.search() {
        guard let match = SearchText.match(text, search, &conditions) else {
          throw QueryParameters.wrong("q", "must have a letter or a digit")
        }
        conditions.add(match.condition)
        (order, isSearch) = (PageOrder(terms: [(match.rank, "bigint"), ("key", "text")], isDescending: true), true)
      }
      let limit = try parameters.limit(default: 20, atMost: 100)
      let cursor = try parameters.cursor { [order] in order.values($0) }
      let tag = parameters.tag
      try parameters.finish()
      if let cursor { conditions.add(order.isAfter(cursor, &conditions)) }
      let count = conditions.bind(Int64(limit + 1))
      let query = Query(
        """
        select document, \(order.place) from read_models.\(model.name) where \(conditions.sql)
        \(order.sorting) limit \(count)
        """, conditions.binds)
      return try await queries.responder.answer(request, [Reads(model.name)]) { [order, isSearch] access in
        if let memory = access.memory {
          guard !isSearch else { throw Problem.needsPostgreSQL("Full-text search") }
          let rows = try memory.tables(of: model.name).rows()
          return order.page(
            of: rows.map { ElementInMemory(json: $0.document, columns: $0.columns) }, sorted, filters: filters,
            after: cursor, limit, tag)
        }
        let rows = try await access.lists.query(query).decode((PostgresBytes, PostgresBytes).self)
        return order.page(rows.map { ($0.0.bytes, $0.1.bytes) }, limit, tag)
      }
    }
  }

  /// Returns why a list cannot work, or nil if it can.
  private static func problem(
    _ model: some ReadModel, _ stray: String?, _ sorted: [String], _ search: String?
  ) -> String? {
    let known = model.columns.map(\.name) + ["key"]
    if let stray = stray ?? (sorted + [search].compactMap { $0 }).first(where: { !known.contains($0) }) {
      return
        "the read model \(model.name) has no column \(stray), by which a list of it is filtered, sorted or searched"
    }
    return model.columns.first { $0.mayBeNull && sorted.contains($0.name) }.map {
      "a list of the read model \(model.name) cannot be sorted by \($0.name), which may be null"
    }
  }

  /// Returns a route for totals of a read model, in pages. Each group is a JSON object: its columns, its sums, and the
  /// smallest and largest value of each range. A group whose sums are all 0 is left out. To keep such a group, add a
  /// `.count`.
  /// - Parameters:
  ///   - path: the path.
  ///   - name: the name of the totals.
  ///   - model: the read model.
  ///   - isDescending: whether groups are sorted by their columns in descending order.
  public static func totals<Model: ReadModel>(
    _ path: String, _ name: String, of model: Model, isDescending: Bool = false
  ) -> QueryRoute {
    let totals = TotalsQuery(name, model.totals)
    let filtering = ColumnFilters(path, totals.groups.map(\.name), of: totals.groups)
    let order = PageOrder(terms: totals.groups.map { ("g." + $0.name, $0.type) }, isDescending: isDescending)
    return QueryRoute(
      path: path, models: [model.name],
      parameters: filtering.ofRequest.map { ($0, "groups with this \($0)") } + page, shape: nil, isList: true,
      summary: "Totals of \(model.name).",
      problem: totals.isThere
        ? filtering.stray.map { "the totals \(name) are not formed by \($0)" }
        : "the read model \(model.name) has no totals \(name)"
    ) { queries, request, context in
      var parameters = QueryParameters(request)
      let filters = try filtering.filters(context, &parameters)
      var conditions = Conditions()
      conditions.add(filters)
      let limit = try parameters.limit(default: 100, atMost: 1000)
      let cursor = try parameters.cursor { order.values($0) }
      let tag = parameters.tag
      try parameters.finish()
      let groups = conditions.sql
      let after = cursor.map { order.isAfter($0, &conditions) } ?? "true"
      let count = conditions.bind(Int64(limit + 1))
      let query = Query(
        "select \(totals.object), \(order.place) from \(totals.groups(where: groups)) where \(after) \(order.sorting) limit \(count)",
        conditions.binds)
      return try await queries.responder.answer(request, [Reads(model.name)]) { access in
        if let memory = access.memory {
          return order.page(
            of: totals.elements(of: try memory.tables(of: model.name)), totals.groups.map(\.name), filters: filters,
            after: cursor, limit, tag)
        }
        let rows = try await access.lists.query(query).decode((PostgresBytes, PostgresBytes).self)
        return order.page(rows.map { ($0.0.bytes, $0.1.bytes) }, limit, tag)
      }
    }
  }
}

/// The SQL of totals.
struct TotalsQuery: Sendable {
  let groups: [(name: String, type: String)]
  let name: String
  let sums: [String]
  let ranges: [String]
  /// The PostgreSQL types of the ranges' values.
  let rangeTypes: [String: String]

  init<Row>(_ name: String, _ totals: [Totals<Row>]) {
    let tables = totals.first { $0.name == name }?.tables.map(\.description) ?? []
    let own = tables.first { $0.name == name }
    self.name = name
    sums = own?.sums ?? []
    // Each range has another table, with the groups' columns and `value`.
    let beside = tables.filter { $0.name != name }
    ranges = beside.map { String($0.name.dropFirst(name.count + 1)) }
    rangeTypes = Dictionary(zip(ranges, beside.map { $0.keys.last?.type ?? "text" })) { first, _ in first }
    groups = own?.keys ?? beside.first.map { Array($0.keys.dropLast()) } ?? []
  }

  var isThere: Bool { !sums.isEmpty || !ranges.isEmpty }

  /// SQL of a group as a JSON object.
  var object: String {
    let members =
      (groups.map(\.name) + sums).map { "'\($0)', g.\($0)" }
      + ranges.map { "'\($0)', json_build_object('smallest', \($0).smallest, 'largest', \($0).largest)" }
    return "json_build_object(\(members.joined(separator: ", ")))"
  }

  /// SQL of the groups, as `g`, with their ranges.
  func groups(where condition: String) -> String {
    let names = groups.map(\.name)
    let list = names.joined(separator: ", ")
    let table = sums.isEmpty ? "\(name)_\(ranges.first ?? "")" : name
    let columns = names + sums.map { "sum(\($0)) as \($0)" }
    let isSome = sums.isEmpty ? "sum(n) > 0" : sums.map { "sum(\($0)) <> 0" }.joined(separator: " or ")
    let same = names.isEmpty ? "true" : names.map { "\($0) = g.\($0)" }.joined(separator: " and ")
    let beside = ranges.map { range in
      """
       cross join lateral (select min(value) as smallest, max(value) as largest from (
        select value from read_models.\(name)_\(range) where \(same) group by value having sum(n) > 0) v) \(range)
      """
    }
    return """
      (select \(columns.isEmpty ? "1" : columns.joined(separator: ", ")) from read_models.\(table) where \(condition)
        \(names.isEmpty ? "" : "group by \(list)") having \(isSome)) g\(beside.joined())
      """
  }
}
