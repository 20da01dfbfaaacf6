public import Failures

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

  /// Depends on the class of the condition. PostgreSQL may add classes, so an unlisted one is a programming error.
  public var failureKind: FailureKind {
    switch category {
    // The server's state: connection (08), transaction state (25: a primary that has become a standby, a transaction
    // that was idle for too long), rollback (40), resources (53), object state (55), operator (57), system (58).
    case "08", "25", "40", "53", "55", "57", "58": .retry
    // Values and rules: cardinality (21), data (22), integrity (23), external routines (38, 39), check option (44),
    // errors that PL/pgSQL raises (P0); also limits that a smaller value meets, such as the size of an index row (54).
    case "21", "22", "23", "38", "39", "44", "54", "P0": .refused
    // The statement, the schema, rights or the login.
    default: .programmingError
    }
  }
}
