public import EventSourcing
public import FoundationEssentials
public import Postgres

/// A column that repeats part of a row, so that queries can search and sort by it.
public struct Column<Row: Sendable>: Sendable {
  package let name: String
  /// The PostgreSQL type, as in a cast.
  package let type: String
  package let mayBeNull: Bool
  /// The SQL after the type in the table's definition.
  var suffix: String { (type == "text" ? " collate \"C\"" : "") + (mayBeNull ? "" : " not null") }
  let index: Index?
  let values: @Sendable ([Row]) -> PostgresValue

  /// Creates a column whose value is computed from the row.
  /// - Parameters:
  ///   - name: a lower-case letter, then lower-case letters, digits and `_`; not `key`, `version`, `stream_hash` or
  ///     `document`.
  ///   - value: returns the column's value.
  // Inlinable, so that the work for each row is specialized for its types.
  @inlinable
  public init<Value: ColumnValue>(_ name: String, _ value: @escaping @Sendable (Row) -> Value) {
    self.init(name, Value.columnType, isNull: Value.mayBeNull, index: nil) { rows in
      rows.map { value($0).columnValue }
    }
  }

  @usableFromInline
  init<Stored: PostgresEncodable>(
    _ name: String, _ type: String, isNull: Bool, index: Index?, _ values: @escaping @Sendable ([Row]) -> [Stored]
  ) {
    self.name = name
    self.type = type
    mayBeNull = isNull
    self.index = index
    self.values = { PostgresValue(PostgresArray(values($0))) }
  }

  /// Creates a column of words. Searches find words by their beginnings, and despite typos.
  public static func search(_ name: String, _ text: @escaping @Sendable (Row) -> String) -> Column {
    Column(name, "text", isNull: false, index: Index(gin: "\(name) public.gin_trgm_ops")) { rows in
      rows.map { SearchText.normal(text($0)) }
    }
  }

  /// Creates a column of several texts. A query finds the row by each of them.
  public static func tags(_ name: String, _ tags: @escaping @Sendable (Row) -> [String]) -> Column {
    Column(name, "text", isNull: false, index: Index(gin: tagsExpression(name))) { rows in
      rows.map { row in
        Set(tags(row)).map { $0.replacing("\u{1F}", with: " ") }.sorted().joined(separator: "\u{1F}")
      }
    }
  }

}

/// Returns SQL for the texts of a column of tags, as the array that its index uses.
public func tagsExpression(_ column: String) -> String { "string_to_array(\(column), E'\\x1f')" }

/// A type of value that a column can have.
public protocol ColumnValue: Sendable {
  /// The type that the PostgreSQL driver binds.
  associatedtype Stored: PostgresEncodable
  /// The PostgreSQL type, as in a cast.
  static var columnType: String { get }
  /// Whether a value may be null. The default is false.
  static var mayBeNull: Bool { get }
  /// The value as the driver binds it.
  var columnValue: Stored { get }
}

extension ColumnValue {
  /// False: only an optional may be null.
  public static var mayBeNull: Bool { false }
}

extension ColumnValue where Self: PostgresEncodable {
  /// The value itself, which the driver can bind.
  public var columnValue: Self { self }
}

extension String: ColumnValue { public static var columnType: String { "text" } }
extension Int64: ColumnValue { public static var columnType: String { "bigint" } }
extension Int: ColumnValue { public static var columnType: String { "bigint" } }
extension Bool: ColumnValue { public static var columnType: String { "boolean" } }
extension Double: ColumnValue { public static var columnType: String { "double precision" } }
extension UUID: ColumnValue { public static var columnType: String { "uuid" } }

extension Timestamp: ColumnValue {
  public static var columnType: String { "timestamptz" }
  /// The time as PostgreSQL's `timestamptz`, which also counts microseconds.
  public var columnValue: PostgresTimestamp { PostgresTimestamp(microsecondsSince1970: microsecondsSince1970) }
}

extension Optional: ColumnValue where Wrapped: ColumnValue {
  public static var columnType: String { Wrapped.columnType }
  /// True.
  public static var mayBeNull: Bool { true }
  /// The wrapped value as the driver binds it; nil for null.
  public var columnValue: Wrapped.Stored? { map(\.columnValue) }
}

/// An index on a read model's table. The index entry of a row may have at most about 2,700 bytes. A larger one fails,
/// and the event's stream is parked: so limit the length of texts in commands.
public struct Index: Sendable, Hashable, ExpressibleByStringLiteral {
  /// The SQL after `create index on TABLE`.
  let definition: String
  /// The columns among its terms, so that a misspelt one is found before PostgreSQL sees it. What expressions and
  /// conditions name is not here.
  let columns: [String]

  /// Creates an index of columns and expressions.
  /// - Parameters:
  ///   - terms: columns and expressions, each followed by `desc` if it is sorted in descending order. They become
  ///     part of the SQL: they must come from the program, never from input.
  ///   - condition: a SQL condition on the rows in the index; nil for all rows.
  public init(_ terms: String..., where condition: String? = nil) {
    definition = "(\(terms.joined(separator: ", ")))" + (condition.map { " where \($0)" } ?? "")
    columns = terms.compactMap(Self.column)
  }

  /// Returns the column that a term begins with; nil for an expression. In `create index`, an expression is in
  /// parentheses or a call of a function, so a name with nothing or another word behind it is a column's.
  private static func column(of term: String) -> String? {
    term.prefixMatch(of: /([A-Za-z_][A-Za-z0-9_]*)(?: +[A-Za-z]| *$)/).map { $0.output.1.lowercased() }
  }

  public init(stringLiteral column: String) { self.init(column) }

  /// - Parameter term: an expression with its operator class.
  init(gin term: String) { (definition, columns) = ("using gin (\(term))", []) }
}
