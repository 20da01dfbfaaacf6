public import Postgres

/// Optional conditions of a query, with their bind parameters.
public struct Conditions: Sendable {
  public private(set) var binds: [PostgresValue] = []
  private var all: [String] = []

  public init() {}

  /// Binds a value.
  /// - Returns: the value's placeholder in the SQL.
  public mutating func bind(_ value: some PostgresEncodable) -> String {
    binds.append(PostgresValue(value))
    return "$\(binds.count)"
  }

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

  public init(document: [UInt8], version: Int64) { (self.document, self.version) = (document, version) }
}
