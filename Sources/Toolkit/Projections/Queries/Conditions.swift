public import Postgres

/// Optional conditions of a query, with their bind parameters.
public struct Conditions: Sendable {
  /// The values of `$1`, `$2` and so on, in order.
  public private(set) var binds: [PostgresValue] = []
  private var all: [String] = []

  /// Creates conditions that allow every row.
  public init() {}

  /// Binds a value.
  /// - Returns: the value's placeholder in the SQL.
  public mutating func bind(_ value: some PostgresEncodable) -> String {
    binds.append(PostgresValue(value))
    return "$\(binds.count)"
  }

  /// Adds a condition: a row must meet all of them.
  /// - Parameter sql: A Boolean expression of SQL with placeholders of `bind`. It must not contain text from outside.
  public mutating func add(_ sql: String) { all.append(sql) }

  /// All conditions, joined by `and`; `true` if there are none.
  public var sql: String { all.isEmpty ? "true" : all.joined(separator: " and ") }
}

/// A row of a read table.
public struct ReadRow: Sendable, Hashable {
  /// The JSON that is sent.
  public let document: [UInt8]
  /// The version of the row's stream.
  public let version: Int64

  /// Creates a row.
  /// - Parameters:
  ///   - document: The row: a JSON object in UTF-8.
  ///   - version: The version of the row's stream.
  public init(document: [UInt8], version: Int64) { (self.document, self.version) = (document, version) }
}
