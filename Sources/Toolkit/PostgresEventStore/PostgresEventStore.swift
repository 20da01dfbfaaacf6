public import EventSourcing
internal import Failures
public import FoundationEssentials
public import Postgres

/// The event store on PostgreSQL.
public struct PostgresEventStore: EventStore {
  /// The channel on which an append notifies; the payload is its last position.
  public static let channel = "event_store"

  /// Of data and metadata together, in bytes. The feeds send an event in one message, and RabbitMQ 4 refuses messages
  /// of more than 16 MiB: an event that cannot be sent would hold up all that follow it.
  public static let maximumEventSize = 8 * 1024 * 1024

  let pool: PostgresPool
  let appendTimeout: Duration
  let history = KnownHistory()

  /// - Parameters:
  ///   - pool: best made with `checkServer` for its new connections.
  ///   - appendTimeout: bound on one append; past it its outcome is unknown.
  public init(_ pool: PostgresPool, appendTimeout: Duration = .seconds(10)) {
    self.pool = pool
    self.appendTimeout = appendTimeout
  }

  public var knownHistoryID: UUID? { history.seen.historyID }

  public func head() async throws(EventStoreError) -> Position {
    try await translating {
      Position(try await pool.query("select coalesce(max(position), 0) from event_store.events").value(Int64.self))
    }
  }

  public func historyID() async throws(EventStoreError) -> UUID {
    try await translating {
      try await pool.query("select history_id from event_store.identity").value(UUID.self)
    }
  }

  public func heads(of partitioning: Partitioning) async throws(EventStoreError) -> [PartitionHead] {
    try await translating {
      let rows = try await pool.query("select bucket, position, id from event_store.bucket_heads()")
        .decode((Int, Int64, UUID).self)
      var last: [Int: (position: Int64, id: UUID)] = [:]
      for (bucket, position, id) in rows {
        let index = bucket * partitioning.count / Partitioning.bucketCount
        if position > last[index]?.position ?? 0 { last[index] = (position, id) }
      }
      return partitioning.partitions.map {
        PartitionHead(
          partition: $0, position: Position(last[$0.index]?.position ?? 0), eventID: last[$0.index]?.id)
      }
    }
  }

  /// Gives errors their meaning for a store of events.
  /// - Parameter isAppend: whether anybody's events depend on what became of the statement; a read that was cut off is
  ///   made again, and so is what is kept beside the events.
  func translating<Answer: Sendable>(
    isAppend: Bool = false, _ body: () async throws -> Answer
  ) async throws(EventStoreError) -> Answer {
    do {
      return try await body()
    } catch let error as EventStoreError {
      throw error
    } catch let error as PostgresError {
      throw EventStoreError(error, isAppend: isAppend)
    } catch {
      switch FailureKind(error) {
      case .retry: throw .unavailable("\(error)")
      case .refused: throw .refused("\(error)")
      case .historyChanged: throw .historyChanged("\(error)")
      case .programmingError: throw .failed("\(error)")
      }
    }
  }
}

extension EventStoreError {
  init(_ error: PostgresError, isAppend: Bool) {
    let reason = error.description
    switch error.failureKind {
    case .retry: self = isAppend && error.outcomeIsUnknown ? .outcomeUnknown(reason) : .unavailable(reason)
    case .refused: self = error.sqlState.map { Self.refusal($0, reason) } ?? .refused(reason)
    case .historyChanged: self = .historyChanged(reason)
    case .programmingError: self = .failed(reason)
    }
  }

  private static func refusal(_ state: SQLState, _ reason: String) -> EventStoreError {
    switch state.category {
    case "22": .refused(reason)
    // A duplicate the append has ruled out in a sound store.
    case "23": [.checkViolation, .notNullViolation].contains(state) ? .refused(reason) : .failed(reason)
    // The others are limits of the server's, such as a full queue of notifications.
    case "54": state == .statementTooComplex ? .refused(reason) : .unavailable(reason)
    default: .failed(reason)
    }
  }
}
