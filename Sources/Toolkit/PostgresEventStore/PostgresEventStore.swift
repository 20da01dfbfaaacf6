public import EventSourcing
internal import Failures
public import FoundationEssentials
public import Postgres

/// The event store on PostgreSQL.
public struct PostgresEventStore: EventStore {
  /// The channel that an append notifies; the payload is its last position.
  public static let channel = "event_store"

  /// The largest size of an event's data and metadata together, in bytes. The feeds send an event in one message, and
  /// RabbitMQ 4 refuses messages of more than 16 MiB. An event that cannot be sent would block all later events.
  public static let maximumEventSize = 8 * 1024 * 1024

  let pool: PostgresPool
  let appendTimeout: Duration
  let history = KnownHistory()

  /// - Parameters:
  ///   - pool: a pool on the write store, best made with a `ServerWitness` for new connections.
  ///   - appendTimeout: the time limit of one append. If it expires, the append's outcome is unknown.
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

  /// Translates errors into `EventStoreError`.
  /// - Parameter isAppend: whether the statement appends events. Then a lost connection leaves the outcome unknown; any
  ///   other statement can be repeated.
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
    if error.sqlState == .archived {
      self = .archived(error.message)
      return
    }
    switch error.failureKind {
    case .retry: self = isAppend && error.outcomeIsUnknown ? .outcomeUnknown(reason) : .unavailable(reason)
    case .refused: self = error.sqlState.map { Self.refusal($0, reason) } ?? .refused(reason)
    case .historyChanged: self = .historyChanged(reason)
    case .programmingError: self = .failed(reason)
    }
  }

  /// - Parameter first: where the events begin that a reader needs.
  static func refusing(upTo last: Position, needed first: Position) -> EventStoreError {
    .archived("events up to \(last) are archived; run `counterflow archive --attach \(first)`")
  }

  private static func refusal(_ state: SQLState, _ reason: String) -> EventStoreError {
    switch state.category {
    case "22": .refused(reason)
    // In a sound store, the append has ruled out duplicates.
    case "23": [.checkViolation, .notNullViolation].contains(state) ? .refused(reason) : .failed(reason)
    // The others are limits of the server, such as a full queue of notifications.
    case "54": state == .statementTooComplex ? .refused(reason) : .unavailable(reason)
    default: .failed(reason)
    }
  }
}

extension SQLState {
  /// A reader needs events that are archived: `event_store.refuse_archived`.
  fileprivate static let archived = SQLState(rawValue: "CF002")
}
