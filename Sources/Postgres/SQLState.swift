/// A five-character SQLSTATE code as PostgreSQL reports it (PostgreSQL documentation, appendix A).
public struct SQLState: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public let rawValue: String

  public init(rawValue: String) { self.rawValue = rawValue }

  /// The first two characters: the class of the condition, such as `23` for integrity violations.
  public var category: String { String(rawValue.prefix(2)) }

  public var description: String { rawValue }

  public static let uniqueViolation = SQLState(rawValue: "23505")
  public static let checkViolation = SQLState(rawValue: "23514")
  public static let notNullViolation = SQLState(rawValue: "23502")
  public static let statementTooComplex = SQLState(rawValue: "54001")
  public static let serializationFailure = SQLState(rawValue: "40001")
  public static let deadlockDetected = SQLState(rawValue: "40P01")
  public static let lockNotAvailable = SQLState(rawValue: "55P03")
  public static let queryCanceled = SQLState(rawValue: "57014")
  public static let adminShutdown = SQLState(rawValue: "57P01")
  public static let crashShutdown = SQLState(rawValue: "57P02")
  public static let invalidCatalogName = SQLState(rawValue: "3D000")
  public static let undefinedTable = SQLState(rawValue: "42P01")
  public static let insufficientPrivilege = SQLState(rawValue: "42501")
  public static let undefinedFunction = SQLState(rawValue: "42883")
  public static let undefinedColumn = SQLState(rawValue: "42703")
  public static let undefinedSchema = SQLState(rawValue: "3F000")
  static let invalidStatementName = SQLState(rawValue: "26000")

  /// True for the classes that speak of the server's state and not of the statement: connection (08),
  /// rollback (40), resources (53), object state (55), operator intervention (57), system (58).
  /// The same statement may succeed later.
  public var isInfrastructure: Bool { ["08", "40", "53", "55", "57", "58"].contains(category) }
}
