public import EventSourcing
public import Postgres

/// A stream that waits in one projection, since one of its events was refused.
public struct ParkedStream: Sendable {
  public let projection: String
  public let generation: Int
  public let stream: StreamID
  public let version: Version
  public let position: Position
  public let eventType: String
  public let error: String
  public let attempts: Int
  public let parkedAt: Timestamp
  /// retry or discard, once somebody has asked for it.
  public let request: String?
}

/// The parked streams, for people to look at and to decide on. A worker does what they ask for.
public struct ParkedStreams: Sendable {
  public enum Request: String, Sendable {
    /// Once more, from the event that was refused.
    case retry
    /// Without that one event, which is recorded as given up.
    case discard
  }

  private let pool: PostgresPool

  public init(_ readStore: PostgresPool) { pool = readStore }

  /// - Parameters: nil stands for all.
  public func list(
    _ projection: String? = nil, _ stream: String? = nil, limit: Int? = nil
  ) async throws -> [ParkedStream] {
    try await pool.query(
      """
      select projection, generation, stream, version, position, event_type, error, attempts, parked_at, request
      from projections.parked
      where (\(optional: projection)::text is null or projection = \(optional: projection))
        and (\(optional: stream)::text is null or stream = \(optional: stream))
      order by parked_at, stream limit \(optional: limit.map(Int64.init))
      """
    ).decode((String, Int, String, Int64, Int64, String, String, Int, PostgresTimestamp, String?).self).map {
      ParkedStream(
        projection: $0.0, generation: $0.1, stream: StreamID(rawValue: $0.2), version: Version($0.3),
        position: Position($0.4), eventType: $0.5, error: $0.6, attempts: $0.7,
        parkedAt: Timestamp(microsecondsSince1970: $0.8.microsecondsSince1970), request: $0.9)
    }
  }

  /// The first of them, and how many there are.
  public func first(_ limit: Int) async throws -> ([ParkedStream], count: Int) {
    let count = try await pool.query("select count(*) from projections.parked").value(Int.self)
    return (count == 0 ? [] : try await list(limit: limit), count)
  }

  /// Asks for one stream to be tried again, with no right but to ask for that.
  /// - Returns: how many of it wait: one in each generation at most.
  public func retry(_ projection: String, _ stream: String) async throws -> Int {
    try await pool.query("select projections.retry_parked(\(projection), \(stream))").value(Int.self)
  }

  /// - Parameters: nil stands for all.
  /// - Returns: how many streams it is asked for.
  public func ask(for request: Request, _ projection: String?, _ stream: String?) async throws -> Int {
    try await pool.query(
      """
      update projections.parked set request = \(request.rawValue)
      where (\(optional: projection)::text is null or projection = \(optional: projection))
        and (\(optional: stream)::text is null or stream = \(optional: stream))
      """
    ).affectedRows
  }
}
