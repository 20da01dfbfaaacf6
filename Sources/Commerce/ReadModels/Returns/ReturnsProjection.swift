internal import Commerce
public import EventSourcing
public import Postgres
public import Projections

/// One row a return: its event as it is.
public struct ReturnsProjection: Projection {
  public let name = "returns"
  public let version = 1
  public let categories: Set = [Return.category]

  public let table = DocumentTable<[UInt8]>("read_models.returns", columns: [], encode: { $0 }, decode: { $0 })

  public init() {}

  public func apply(_ event: RecordedEvent, to document: inout [UInt8]?) throws {
    _ = try ReturnEvent(event)
    document = event.data
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
