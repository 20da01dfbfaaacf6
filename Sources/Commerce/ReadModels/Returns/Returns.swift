public import Commerce
public import JSON
public import Postgres
public import Projections

/// One row a return: its event.
public struct Returns: ReadModel {
  public let name = "returns"
  public let version = 1

  public let sources = [
    RowSource<ReturnRecorded>(Return.self) { event, row in
      switch event.event {
      case .recorded(let recorded): row = recorded
      }
    }
  ]

  public init() {}

  /// As the event is stored: what it does not have is left out.
  public static func encode(_ row: ReturnRecorded, into json: inout JSONWriter) throws {
    try json.write(encoding: row)
  }
}

/// Queries on the returns' read table. Answers are JSON as it is sent.
public struct ReturnQueries: Sendable {
  private let pool: PostgresPool

  public init(_ pool: PostgresPool) { self.pool = pool }

  /// One return; nil where there is none.
  public func recorded(_ id: String) async throws -> [UInt8]? {
    try await pool.query("select document from read_models.returns where key = \(id)")
      .first?.column(0, as: PostgresBytes.self).bytes
  }
}
