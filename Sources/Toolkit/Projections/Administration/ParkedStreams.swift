package import EventSourcing
package import Postgres
internal import PostgresEventStore

/// A stream that is parked in one projection, since one of its events failed.
package struct ParkedStream: Sendable {
  /// The name of the projection; `reaction/NAME` for a reaction.
  package let projection: String
  /// The number of the generation.
  package let generation: Int
  /// The stream that waits.
  package let stream: StreamID
  /// The version of the event that failed.
  package let version: Version
  /// The position of the event that failed.
  package let position: Position
  /// The type of the event that failed.
  package let eventType: String
  /// The error of the last attempt, in words.
  package let error: String
  /// The number of attempts so far.
  package let attempts: Int
  /// When the event failed for the first time.
  package let parkedAt: Timestamp
  /// `retry` or `discard`, once an operator has asked for it; otherwise nil.
  package let request: String?
  /// When it is tried again without an operator; nil if it waits for one.
  package let retryAt: Timestamp?
}

/// The parked streams, for operators to inspect. Operators request a retry or a discard; a worker carries it out.
package struct ParkedStreams: Sendable {
  /// What an operator asks for.
  package enum Request: String, Sendable {
    /// Try again, from the event that failed.
    case retry
    /// Continue without that one event, and record it as discarded.
    case discard
  }

  private let pool: PostgresPool

  private let isOfReactions: Bool?

  /// Looks for parked streams in one store.
  /// - Parameters:
  ///   - store: the read store; for reactions the write store.
  ///   - isOfReactions: whether only parked streams of reactions count, or only those of read models; nil for both.
  package init(_ store: PostgresPool, ofReactions isOfReactions: Bool? = nil) {
    (pool, self.isOfReactions) = (store, isOfReactions)
  }

  /// Returns the parked streams, oldest first. nil stands for all projections, streams or rows.
  package func list(
    _ projection: String? = nil, _ stream: String? = nil, limit: Int? = nil
  ) async throws -> [ParkedStream] {
    try await pool.query(
      """
      select projection, generation, stream, version, position, event_type, error, attempts, parked_at, request, retry_at
      from projections.parked
      where (\(optional: projection)::text is null or projection = \(optional: projection))
        and (\(optional: stream)::text is null or stream = \(optional: stream))
        and (\(optional: isOfReactions)::boolean is null
          or starts_with(projection, \(Projection.reactionPrefix)) = \(optional: isOfReactions))
      order by parked_at, stream limit \(optional: limit.map(Int64.init))
      """
    ).decode(
      (String, Int, String, Int64, Int64, String, String, Int, PostgresTimestamp, String?, PostgresTimestamp?).self
    ).map {
      ParkedStream(
        projection: $0.0, generation: $0.1, stream: StreamID(rawValue: $0.2), version: Version($0.3),
        position: Position($0.4), eventType: $0.5, error: $0.6, attempts: $0.7,
        parkedAt: Timestamp($0.8), request: $0.9, retryAt: $0.10.map { Timestamp($0) })
    }
  }

  /// Returns the oldest parked streams and the number of all.
  package func first(_ limit: Int) async throws -> ([ParkedStream], count: Int) {
    let count = try await pool.query(
      """
      select count(*) from projections.parked
      where \(optional: isOfReactions)::boolean is null
        or starts_with(projection, \(Projection.reactionPrefix)) = \(optional: isOfReactions)
      """
    ).value(Int.self)
    return (count == 0 ? [] : try await list(limit: limit), count)
  }

  /// Asks for one stream to be tried again. It needs only the right to call `projections.retry_parked`.
  /// - Returns: the number of generations in which the stream is parked.
  package func retry(_ projection: String, _ stream: String) async throws -> Int {
    try await pool.query("select projections.retry_parked(\(projection), \(stream))").value(Int.self)
  }

  /// Asks for a retry or a discard of parked streams. nil stands for all projections or streams.
  /// - Returns: the number of parked streams that match.
  package func ask(for request: Request, _ projection: String?, _ stream: String?) async throws -> Int {
    try await pool.query(
      """
      update projections.parked set request = \(request.rawValue), retry_at = clock_timestamp()
      where (\(optional: projection)::text is null or projection = \(optional: projection))
        and (\(optional: stream)::text is null or stream = \(optional: stream))
        and (\(optional: isOfReactions)::boolean is null
          or starts_with(projection, \(Projection.reactionPrefix)) = \(optional: isOfReactions))
      """
    ).affectedRows
  }
}
