/// SQL text with its bind parameters. Interpolated values become parameters, never text:
///
///     let query: Query = "select data from events where stream = \(stream) and version > \(version)"
public struct Query: Sendable, ExpressibleByStringInterpolation {
  public let sql: String
  public let binds: [PostgresValue]

  /// - Parameter sql: the text, with `$1`, `$2`, … in place of the binds.
  public init(_ sql: String, _ binds: [PostgresValue]) {
    self.sql = sql
    self.binds = binds
  }

  public init(stringLiteral value: String) { self.init(value, []) }

  public init(stringInterpolation: Interpolation) {
    self.init(stringInterpolation.sql, stringInterpolation.binds)
  }

  public struct Interpolation: StringInterpolationProtocol {
    fileprivate var sql = ""
    fileprivate var binds: [PostgresValue] = []

    public init(literalCapacity: Int, interpolationCount: Int) {
      sql.reserveCapacity(literalCapacity + interpolationCount * 3)
    }

    public mutating func appendLiteral(_ literal: String) { sql += literal }

    public mutating func appendInterpolation(_ value: some PostgresEncodable) {
      append(PostgresValue(value))
    }

    /// Appends a value, or NULL.
    public mutating func appendInterpolation<Value: PostgresEncodable>(optional value: Value?) {
      append(PostgresValue(value))
    }

    public mutating func appendInterpolation<Element: PostgresEncodable>(array elements: [Element]) {
      append(PostgresValue(PostgresArray(elements)))
    }

    /// Appends text as a parameter whose type the server infers.
    public mutating func appendInterpolation(untyped text: String) { append(.untyped(text)) }

    /// Appends text as part of the SQL: for names that the program itself chose, never for input.
    public mutating func appendInterpolation(unescaped sql: String) { self.sql += sql }

    private mutating func append(_ value: PostgresValue) {
      binds.append(value)
      sql += "$\(binds.count)"
    }
  }
}
