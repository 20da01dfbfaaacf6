public import EventSourcing
public import JSON

/// Rows that queries read, declared as a Swift type and folded from events; and totals over them.
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
/// The engine does the rest. It creates the tables, loads the rows that a batch of events changes, folds the events
/// in memory, and writes the changed rows and the checkpoint in one transaction. So each event counts exactly once. A
/// row belongs to one stream, since only the events of one stream are in order. Use totals to add up over several
/// streams.
public protocol ReadModel: Sendable {
  /// A row, which queries return as JSON. `Codable` is enough. You can write `encode` and `decode` by hand if a read
  /// model is used very often.
  associatedtype Row: Sendable

  /// The name of its tables and checkpoints; it never changes. A lower-case letter, then lower-case letters, digits
  /// and `_`; at most 50 characters.
  var name: String { get }

  /// From 1. Increase it whenever the same events give other rows, or the columns change. A process with a new
  /// version builds new tables beside the old ones, and lets them serve once they have caught up.
  var version: Int { get }

  /// The events that the rows are folded from.
  var sources: [RowSource<Row>] { get }

  /// The parts of a row that queries can search and sort by.
  var columns: [Column<Row>] { get }

  /// The indexes of the table, in addition to the one on its key. The default is none.
  var indexes: [Index] { get }

  /// The sums and counts that are kept beside the rows. The default is none.
  var totals: [Totals<Row>] { get }

  static func encode(_ row: Row, into json: inout JSONWriter) throws
  /// Reads a row that `encode` has written. The default uses the row's `Codable` conformance.
  /// - Throws: an error if the JSON is not such a row.
  static func decode(_ json: JSON) throws -> Row

  /// Returns the read model with other data that it needs to fold these events, such as the keys of personal data.
  /// It is called before each batch is folded, and before a strong read. The default returns the read model itself.
  /// - Parameters:
  ///   - events: the events of the next batch, in order.
  ///   - end: where a rebuild as of the past ends; otherwise nil. Such rows do not follow later events. So leave out
  ///     what a later event takes back, such as personal data.
  /// - Throws: an error that is handled by its `FailureKind`, so your own errors should be `ClassifiedError`s. The event
  ///   is at fault only if the error says so.
  func prepared(for events: [RecordedEvent], until end: Position?) async throws -> Self
}

extension ReadModel {
  public var columns: [Column<Row>] { [] }
  /// No index besides the one on the key.
  public var indexes: [Index] { [] }
  /// No totals.
  public var totals: [Totals<Row>] { [] }
  public func prepared(for events: [RecordedEvent], until end: Position?) async throws -> Self { self }
}

extension ReadModel {
  package var aggregates: [any Aggregate.Type] { sources.map(\.aggregate) }

  /// The names of its tables, without the schema.
  package var tableNames: [String] { [name] + totals.flatMap(\.tables).map(\.description.name) }

  /// Why the declaration cannot work; nil if it can.
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
    let known = Set(columns.map(\.name) + ownColumns)
    for index in indexes {
      if let missing = index.columns.first(where: { !known.contains($0) }) {
        return "the read model \(name) has no column \(missing), which its index \(index.definition) names"
      }
    }
    return doubleColumn("the read model \(name)", columns.map(\.name), ownColumns)
      ?? tables.lazy.compactMap { doubleColumn("the totals \($0.name)", $0.keys.map(\.name) + $0.sums, ["partition"]) }
      .first
  }
}

/// The columns that the table of every read model has.
private let ownColumns = ["key", "version", "stream_hash", "document"]

/// Returns why the columns cannot have these names; nil if they can.
/// - Parameter own: columns that the table has anyway.
private func doubleColumn(_ table: String, _ columns: [String], _ own: [String]) -> String? {
  var seen = Set(own)
  return columns.first { !seen.insert($0).inserted }.map { column in
    own.contains(column)
      ? "a column of \(table) cannot be called \(column), since every such table has one"
      : "two columns of \(table) are called \(column)"
  }
}

/// PostgreSQL's reserved words (its manual, appendix C): as names they would need quotes.
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
  /// Encodes the row. Absent optionals become null.
  public static func encode(_ row: Row, into json: inout JSONWriter) throws {
    try json.write(encoding: row, absentAsNull: true)
  }

  /// Reads a row by its `Codable` conformance.
  public static func decode(_ json: JSON) throws -> Row { try json.decode() }
}
