public import EventSourcing
public import Failures
public import FoundationEssentials
public import Postgres
internal import Synchronization

/// What this process knows of the store's history, so that it notices when the store is another one.
///
/// A store that was restored to an earlier time would give the same positions to other events. It shows
/// by a server that is not the one that the store was last declared to live on (looked at with every new
/// connection), or by an event that was there and is gone (looked at with every append). Then nothing is
/// appended until an operator has said what happened, which gives the store a new history id.
final class KnownHistory: Sendable {
  struct Seen: Sendable {
    var historyID: UUID?
    var position = Position.start
    var eventID: UUID?
  }

  private let state = Mutex(Seen())

  var seen: Seen { state.withLock { $0 } }

  /// An append of this history was confirmed up to there.
  func saw(_ position: Position, _ eventID: UUID, in historyID: UUID?) {
    state.withLock { state in
      guard state.historyID == historyID, position > state.position else { return }
      (state.position, state.eventID) = (position, eventID)
    }
  }

  /// The store has this history id now.
  /// - Returns: whether another was known before.
  func adopt(_ historyID: UUID) -> Bool {
    state.withLock { state in
      guard state.historyID != historyID else { return false }
      defer { state = Seen(historyID: historyID) }
      return state.historyID != nil
    }
  }
}

/// The server is not the one that the store was declared to live on.
public struct ForeignServer: ClassifiedError, CustomStringConvertible {
  public let description: String
  public var failureKind: FailureKind { .historyChanged }
}

extension PostgresEventStore {
  /// Refuses a connection to a server that the store has been moved to without a word.
  /// - Throws: `ForeignServer`, `PostgresError`.
  @Sendable public static func checkServer(_ connection: PostgresConnection) async throws {
    let rows: ResultSet
    do {
      rows = try await connection.query(
        """
        select i.system_identifier, i.timeline, s.system_identifier, s.timeline
        from event_store.identity i cross join event_store.server_identity() s
        """)
    } catch {
      guard error.isMissingSchema else { throw error }
      // Not migrated yet, which the readiness says: there is no history to mistake.
      return
    }
    guard let row = rows.first else { throw ForeignServer(description: "event_store.identity is empty") }
    let (knownSystem, knownTimeline, system, timeline) = try row.decode((Int64?, String?, Int64, String).self)
    guard knownSystem == system, knownTimeline == timeline else {
      throw ForeignServer(
        description:
          "the write store is on another server or timeline than before (now \(system)/\(timeline), before "
          + "\(knownSystem.map(String.init) ?? "unknown")/\(knownTimeline ?? "unknown")): was it restored, or did a "
          + "standby take over? Nothing is appended until counterflow restore-finished has been run")
    }
  }

  /// Declares that a restore, or a failover, has ended and that the store may be used as it is.
  ///
  /// The store gets a new history id, by which everything that remembers a position of the old one
  /// recognises that events may be gone; unless `losingNothing`, by which the caller vouches that every
  /// acknowledged event is there, as after a switch to a synchronous standby.
  /// - Returns: the history id and the head.
  public static func declareRestored(
    losingNothing: Bool, _ connection: PostgresConnection
  ) async throws -> (historyID: UUID, head: Position) {
    try await connection.transaction { connection in
      // Behind every append that is under way.
      try connection.query("select pg_advisory_xact_lock(7310029201180266610)")
      let historyID = try connection.query(
        """
        update event_store.identity i
        set history_id = case when \(losingNothing) then i.history_id else gen_random_uuid() end,
          system_identifier = s.system_identifier, timeline = s.timeline,
          restored_position = case when \(losingNothing) then i.restored_position
            else (select coalesce(max(e.position), 0) from event_store.events e) end
        from event_store.server_identity() s
        returning i.history_id
        """
      ).value(UUID.self)
      let head = try connection.query("select coalesce(max(position), 0) from event_store.events").value(Int64.self)
      return (historyID, Position(head))
    }
  }
}

extension PostgresError {
  fileprivate var isMissingSchema: Bool {
    [.undefinedTable, .undefinedSchema, .undefinedFunction, .undefinedColumn].contains(sqlState)
  }
}
