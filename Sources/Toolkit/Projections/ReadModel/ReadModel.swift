public import EventSourcing
public import JSON

/// What queries read: rows that are folded from events, and totals over them.
///
///     struct Balances: ReadModel {
///       struct Row: Codable { var owner: String, balance: Int64 }
///
///       let name = "balances", version = 1
///       let sources = [
///         RowSource<Row>(Account.self) { event, row in
///           switch event.event {
///           case .opened(let owner): row = Row(owner: owner, balance: 0)
///           case .deposited(let amount): row?.balance += amount
///           case .withdrawn(let amount): row?.balance -= amount
///           }
///         }
///       ]
///       let columns = [Column<Row>("owner", \.owner)]
///       let indexes: [Index] = ["owner"]
///     }
///
/// The engine does the rest: it makes the tables, reads the rows that a batch of events concerns, folds the events in memory, and
/// writes the changed rows and the checkpoint in one transaction, so that each event counts once. A row belongs to one stream,
/// since order is kept per stream only; what adds up over streams is a total.
public protocol ReadModel: Sendable {
  /// What a query answers, as JSON. `Codable` is enough; `encode` and `decode` can be written by hand for a hot one.
  associatedtype Row: Sendable

  /// Names its tables and checkpoints; it never changes. A lower-case letter, then lower-case letters, digits and `_`; 50 at most.
  var name: String { get }

  /// From 1; counted up whenever rows would come out otherwise than before, or lie in other columns. A process with a new
  /// version builds the tables anew beside the old ones, and lets them serve once they have caught up.
  var version: Int { get }

  /// The events that it is made of.
  var sources: [RowSource<Row>] { get }

  /// What of a row can be searched and sorted by.
  var columns: [Column<Row>] { get }

  var indexes: [Index] { get }

  var totals: [Totals<Row>] { get }

  static func encode(_ row: Row, into json: inout JSONWriter) throws
  static func decode(_ json: JSON) throws -> Row

  /// The read model with what it needs besides for these events: where it has to ask somebody, before they are folded. They are
  /// asked again for each batch. What it throws is taken for what it is (`FailureKind`), and is never the event's fault
  /// unless it says so: give errors of your own a `ClassifiedError`.
  func prepared(for events: [RecordedEvent], in generation: Generation) async throws -> Self
}

extension ReadModel {
  public var columns: [Column<Row>] { [] }
  public var indexes: [Index] { [] }
  public var totals: [Totals<Row>] { [] }
  public func prepared(for events: [RecordedEvent], in generation: Generation) async throws -> Self { self }
}

extension ReadModel {
  /// The tables that it takes, without their schema.
  package var tableNames: [String] { [name] + totals.flatMap(\.tables).map(\.description.name) }

  /// Why it cannot work as it is declared; nil for nothing.
  package var problem: String? {
    let tables = totals.flatMap(\.tables).map(\.description)
    let names = tableNames + columns.map(\.name) + tables.flatMap { $0.keys.map(\.name) + $0.sums }
    if let wrong = names.first(where: { $0.wholeMatch(of: /[a-z][a-z0-9_]{0,49}/) == nil }) {
      return
        "the read model \(name) needs another name than '\(wrong)': a lower-case letter, then such letters, digits and _"
    }
    if let word = names.first(where: sqlWords.contains) {
      return "the read model \(name) needs another name than '\(word)', which is a word of SQL"
    }
    if let category = sources.map(\.category).first(where: { !StreamID.isValid(category: $0, id: "1") }) {
      return
        "the read model \(name) has a source of the category '\(category)', which is empty, has a -, or is too long"
    }
    return doubleColumn("the read model \(name)", columns.map(\.name), ["key", "version", "stream_hash", "document"])
      ?? tables.lazy.compactMap { doubleColumn("the totals \($0.name)", $0.keys.map(\.name) + $0.sums, ["partition"]) }
      .first
  }
}

/// Why columns cannot be called so; nil for nothing.
/// - Parameter own: that the table has anyway.
private func doubleColumn(_ table: String, _ columns: [String], _ own: [String]) -> String? {
  var seen = Set(own)
  return columns.first { !seen.insert($0).inserted }.map { column in
    own.contains(column)
      ? "a column of \(table) cannot be called \(column), since every such table has one"
      : "two columns of \(table) are called \(column)"
  }
}

/// PostgreSQL's reserved words (its manual, appendix C), which would have to be quoted.
private let sqlWords: Set = [
  "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "binary",
  "both", "case", "cast", "check", "collate", "collation", "column", "concurrently", "constraint", "create",
  "cross", "current_catalog", "current_date", "current_role", "current_schema", "current_time",
  "current_timestamp", "current_user", "default", "deferrable", "desc", "distinct", "do", "else", "end",
  "except", "false", "fetch", "for", "foreign", "freeze", "from", "full", "grant", "group", "having", "ilike",
  "in", "initially", "inner", "intersect", "into", "is", "isnull", "join", "lateral", "leading", "left", "like",
  "limit", "localtime", "localtimestamp", "natural", "not", "notnull", "null", "offset", "on", "only", "or",
  "order", "outer", "overlaps", "placing", "primary", "references", "returning", "right", "select",
  "session_user", "similar", "some", "symmetric", "system_user", "table", "tablesample", "then", "to",
  "trailing", "true", "union", "unique", "user", "using", "variadic", "verbose", "when", "where", "window",
  "with",
]

extension ReadModel where Row: Codable {
  /// Absent optionals are null.
  public static func encode(_ row: Row, into json: inout JSONWriter) throws {
    try json.write(encoding: row, absentAsNull: true)
  }

  public static func decode(_ json: JSON) throws -> Row { try json.decode() }
}
