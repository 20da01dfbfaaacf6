internal import AccessKit
package import EventSourcing
package import HTTPKit
internal import HTTPTypes
internal import JSON
package import Projections

/// The read models' tables of an application that runs in memory.
package protocol TablesInMemory: Sendable {
  /// Returns the tables of a read model.
  /// - Throws: if there is no such read model.
  func tables(of model: String) throws -> any ModelInMemory
}

extension TablesInMemory {
  func row(_ model: String, _ key: String) throws -> ReadRow? { try tables(of: model).row(key) }
}

extension Queries {
  /// Queries that read tables in memory, through the same routes.
  /// - Parameters:
  ///   - progress: how far the tables have come; its owner lets it look.
  ///   - heads: the heads of `store`; likewise.
  package init(
    _ tables: any TablesInMemory, _ store: any EventStore, progress: ReadProgress, heads: StoreHeads,
    tokenKey: ConsistencyToken.Key
  ) {
    let servers = ReadStore([ReadStore.Server(access: ReadAccess(tables), progress: progress)])
    responder = QueryResponder(
      store: servers, heads: heads, tokenKey: tokenKey, histories: Histories(store), cache: nil)
    admission = Admission(.open, scope: .queriesRead)
    (self.store, self.heads, changes, events) = (servers, heads, nil, EventNames([]))
  }
}

extension Problem {
  /// - Parameter what: what does not run in memory; the start of a sentence.
  static func needsPostgreSQL(_ what: String) -> Problem {
    Problem(
      .notImplemented, "needs-postgresql", title: "Only with PostgreSQL",
      detail: "\(what) does not run in memory. Test this route with a database, as the subcommand dev runs it.",
      isLogged: false)
  }
}

extension PageOrder {
  /// Returns the page of elements in memory that the SQL of this order would return.
  /// - Parameters:
  ///   - names: the columns of the terms.
  ///   - place: the cursor's values; nil for the first page.
  func page(
    of elements: [ElementInMemory], _ names: [String], filters: [ColumnFilter], after place: [String]?, _ limit: Int,
    _ tag: String
  ) -> QueryResult {
    func values(_ texts: [String]) -> [ColumnValueInMemory] {
      zip(texts, terms).map { ColumnValueInMemory($0, $1.type) }
    }
    let wanted = elements.filter { element in
      filters.allSatisfy { filter in
        let value = element.columns[filter.name].map { ColumnValueInMemory($0, filter.type) }
        return value == ColumnValueInMemory(filter.value, filter.type)
      }
    }
    // Columns to sort by are never null.
    let placed = wanted.map { element in
      let texts = names.map { element.columns[$0] ?? "" }
      return (element: element.json, texts: texts, place: values(texts))
    }
    let after = place.map(values)
    let sorted = placed.sorted { comesBefore($0.place, $1.place) }.drop { placed in
      after.map { !comesBefore($0, placed.place) } ?? false
    }
    return page(sorted.prefix(limit + 1).map { ($0.element, Self.place($0.texts)) }, limit, tag)
  }

  private func comesBefore(_ a: [ColumnValueInMemory], _ b: [ColumnValueInMemory]) -> Bool {
    isDescending ? b.lexicographicallyPrecedes(a) : a.lexicographicallyPrecedes(b)
  }

  /// A place as the SQL of `place` writes it.
  private static func place(_ texts: [String]) -> [UInt8] { JSON.array(texts.map { .string($0) }).encoded }
}

/// An element of a list, with the values of its columns as text; a null has no value.
struct ElementInMemory {
  let json: [UInt8]
  let columns: [String: String]
}

/// A value of a column, compared as PostgreSQL compares values of its type. Values of one column are of one case.
enum ColumnValueInMemory: Comparable {
  case integer(Int64)
  case number(Double)
  /// Compared by its bytes, as by the collation C.
  case text([UInt8])

  /// - Parameter text: as `columnText` or a table in memory writes values of the type.
  init(_ text: String, _ type: String) {
    let value: ColumnValueInMemory? =
      switch type {
      case "bigint": Int64(text).map { .integer($0) }
      case "boolean": .integer(text == "true" ? 1 : 0)
      case "double precision": Double(text).map { .number($0) }
      case "timestamptz": Timestamp(text).map { .integer($0.microsecondsSince1970) }
      case "uuid": .text(Array(text.lowercased().utf8))
      default: nil
      }
    self = value ?? .text(Array(text.utf8))
  }

  static func < (a: ColumnValueInMemory, b: ColumnValueInMemory) -> Bool {
    switch (a, b) {
    case (.integer(let a), .integer(let b)): a < b
    case (.number(let a), .number(let b)): a < b
    case (.text(let a), .text(let b)): a.lexicographicallyPrecedes(b)
    default: false
    }
  }
}

extension TotalsQuery {
  /// Returns the groups that the SQL of `groups(where:)` would return without a condition, as elements.
  func elements(of model: any ModelInMemory) -> [ElementInMemory] {
    let tables = ranges.map { (name: $0, groups: model.groups(of: "\(name)_\($0)")) }
    // Without sums, a group is there as long as it has a value.
    let all: [(values: [String], sums: [Int64])] =
      sums.isEmpty
      ? unique(tables.first?.groups.map { Array($0.values.dropLast()) } ?? []).map { ($0, []) }
      : model.groups(of: name).map { ($0.values, $0.sums) }
    return all.map { values, amounts in
      let columns = zip(groups, values).map { (name: $0.name, type: $0.type, text: $1) }
      var members = columns.map { JSON.Member($0.name, json($0.text, $0.type)) }
      members += zip(sums, amounts).map { JSON.Member($0, .integer($1)) }
      for table in tables {
        let own = table.groups.filter { same($0.values.dropLast(), values) }.compactMap(\.values.last)
        members.append(JSON.Member(table.name, range(of: own, table.name)))
      }
      return ElementInMemory(
        json: JSON.object(members).encoded,
        columns: Dictionary(columns.map { ($0.name, $0.text) }) { first, _ in first })
    }
  }

  private func range(of values: [String], _ range: String) -> JSON {
    let type = rangeTypes[range] ?? "text"
    let sorted = values.sorted { ColumnValueInMemory($0, type) < ColumnValueInMemory($1, type) }
    func end(_ value: String?) -> JSON { value.map { json($0, type) } ?? .null }
    return ["smallest": end(sorted.first), "largest": end(sorted.last)]
  }

  /// A value as PostgreSQL's `json_build_object` writes it.
  private func json(_ text: String, _ type: String) -> JSON {
    switch type {
    case "bigint": return Int64(text).map { .integer($0) } ?? .null
    case "timestamptz":
      // 2026-11-27T09:30:00.120000Z is 2026-11-27T09:30:00.12+00:00 there.
      var digits = text.dropLast()
      while digits.last == "0" { digits.removeLast() }
      if digits.last == "." { digits.removeLast() }
      return .string("\(digits)+00:00")
    default: return .string(text)
    }
  }

  private func same(_ a: ArraySlice<String>, _ b: [String]) -> Bool {
    a.map { ExactText($0) } == b.map { ExactText($0) }
  }

  private func unique(_ all: [[String]]) -> [[String]] {
    var seen: Set<[ExactText]> = []
    return all.filter { seen.insert($0.map { ExactText($0) }).inserted }
  }
}
