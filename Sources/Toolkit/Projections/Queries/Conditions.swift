public import Postgres

/// Conditions of a query that are there or not, with their bind parameters.
public struct Conditions: Sendable {
  public private(set) var binds: [PostgresValue] = []
  private var all: [String] = []

  public init() {}

  /// Binds a value.
  /// - Returns: what stands for it in the SQL.
  public mutating func bind(_ value: some PostgresEncodable) -> String {
    binds.append(PostgresValue(value))
    return "$\(binds.count)"
  }

  public mutating func add(_ sql: String) { all.append(sql) }

  /// All of them, or what holds always.
  public var sql: String { all.isEmpty ? "true" : all.joined(separator: " and ") }
}

/// A row of a read table.
public struct ReadRow: Sendable, Hashable {
  /// JSON as it is sent.
  public let document: [UInt8]
  /// Of its stream.
  public let version: Int64

  public init(document: [UInt8], version: Int64) { (self.document, self.version) = (document, version) }
}
