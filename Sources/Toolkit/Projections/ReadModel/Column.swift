public import EventSourcing
public import FoundationEssentials
public import Postgres

/// A column that repeats part of a row, so that it can be searched and sorted by.
public struct Column<Row: Sendable>: Sendable {
  package let name: String
  /// The PostgreSQL type, as in a cast.
  package let type: String
  package let mayBeNull: Bool
  /// What follows the type where the table is made.
  var suffix: String { (type == "text" ? " collate \"C\"" : "") + (mayBeNull ? "" : " not null") }
  let index: Index?
  let values: @Sendable ([Row]) -> PostgresValue

  /// - Parameters:
  ///   - name: a lower-case letter, then lower-case letters, digits and `_`; not `key`, `version`, `stream_hash` or
  ///     `document`.
  // Inlinable, so that what is done for each row is compiled for its types.
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

  /// A column of words that can be searched for by their beginnings, and in spite of typos.
  public static func search(_ name: String, _ text: @escaping @Sendable (Row) -> String) -> Column {
    Column(name, "text", isNull: false, index: Index(gin: "\(name) public.gin_trgm_ops")) { rows in
      rows.map { SearchText.normal(text($0)) }
    }
  }

  /// A column of several texts, by each of which the row can be found.
  public static func tags(_ name: String, _ tags: @escaping @Sendable (Row) -> [String]) -> Column {
    Column(name, "text", isNull: false, index: Index(gin: tagsExpression(name))) { rows in
      rows.map { row in
        Set(tags(row)).map { $0.replacing("\u{1F}", with: " ") }.sorted().joined(separator: "\u{1F}")
      }
    }
  }

}

/// SQL for the texts of a column of tags, as an array that its index knows.
public func tagsExpression(_ column: String) -> String { "string_to_array(\(column), E'\\x1f')" }

/// A value that a column may have.
public protocol ColumnValue: Sendable {
  associatedtype Stored: PostgresEncodable
  /// The PostgreSQL type, as in a cast.
  static var columnType: String { get }
  static var mayBeNull: Bool { get }
  var columnValue: Stored { get }
}

extension ColumnValue {
  public static var mayBeNull: Bool { false }
}

extension ColumnValue where Self: PostgresEncodable {
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
  public var columnValue: PostgresTimestamp { PostgresTimestamp(microsecondsSince1970: microsecondsSince1970) }
}

extension Optional: ColumnValue where Wrapped: ColumnValue {
  public static var columnType: String { Wrapped.columnType }
  public static var mayBeNull: Bool { true }
  public var columnValue: Wrapped.Stored? { map(\.columnValue) }
}

/// An index on a read model's table. What is in it of one row may have 2,600 bytes, about: a command bounds its texts, or the event's
/// stream is parked.
public struct Index: Sendable, Hashable, ExpressibleByStringLiteral {
  /// What follows `create index on TABLE`.
  let definition: String

  /// - Parameters:
  ///   - terms: columns and expressions, each with `desc` behind it where it is sorted downwards. They are the program's
  ///     own, never input: they become part of the SQL.
  ///   - condition: of the rows that are in it, SQL as well; nil for all.
  public init(_ terms: String..., where condition: String? = nil) {
    definition = "(\(terms.joined(separator: ", ")))" + (condition.map { " where \($0)" } ?? "")
  }

  public init(stringLiteral column: String) { self.init(column) }

  /// - Parameter term: an expression with its operator class.
  init(gin term: String) { definition = "using gin (\(term))" }
}
