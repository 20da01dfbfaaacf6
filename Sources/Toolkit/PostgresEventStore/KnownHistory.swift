public import EventSourcing
public import FoundationEssentials
public import Postgres
internal import Synchronization

/// What this process knows of the store's history, so that it detects another one.
///
/// A store that was restored to an earlier time would give the same positions to other events. Two checks detect this.
/// On every new connection, the server must be the store's, or have all that it had (`ServerWitness`). On every append, an
/// event that was seen before must still be there. If it is not, no process appends until an operator declares
/// what happened (`declareRestored`). Usually this gives the store a new history id.
final class KnownHistory: Sendable {
  struct Seen: Sendable {
    var historyID: UUID?
    var position = Position.start
    var eventID: UUID?
  }

  private let state = Mutex(Seen())

  var seen: Seen { state.withLock { $0 } }

  /// Records that an event of this history was appended or read.
  func saw(_ position: Position, _ eventID: UUID, in historyID: UUID?) {
    state.withLock { state in
      guard state.historyID == historyID, position > state.position else { return }
      (state.position, state.eventID) = (position, eventID)
    }
  }

  /// Records the history id of the store.
  /// - Returns: whether another one was known before.
  func adopt(_ historyID: UUID) -> Bool {
    state.withLock { state in
      guard state.historyID != historyID else { return false }
      defer { state = Seen(historyID: historyID) }
      return state.historyID != nil
    }
  }
}

extension PostgresEventStore {
  /// Declares that a restore or a failover has ended, and that the store may be used as it is.
  ///
  /// The store gets a new history id, so that everything that remembers a position of the old history detects that
  /// events may be missing. With `losingNothing` it keeps its history id. The caller then guarantees that every
  /// acknowledged event is there, as after a switch to a synchronous standby.
  /// - Returns: the history id and the head.
  public static func declareRestored(
    losingNothing: Bool, _ connection: PostgresConnection
  ) async throws -> (historyID: UUID, head: Position) {
    try await declareRestored(losingNothing: losingNothing, repeating: [], connection)
  }

  /// The same, and repeats erasures of personal data before anything can be appended.
  /// - Parameter erasures: those that the restored store does not have.
  package static func declareRestored(
    losingNothing: Bool, repeating erasures: [Erasure], _ connection: PostgresConnection
  ) async throws -> (historyID: UUID, head: Position) {
    try await connection.transaction { connection in
      // Waits for appends in progress.
      try connection.query("select pg_advisory_xact_lock(7310029201180266610)")
      if losingNothing,
        let lost = try connection.query("select lost_event from event_store.identity").value(String?.self)
      {
        throw LostEvents(description: "the store has lost events (\(lost)): declare that without --nothing-lost")
      }
      let historyID = try connection.query(
        """
        update event_store.identity i
        set lost_event = null, history_id = case when \(losingNothing) then i.history_id else gen_random_uuid() end,
          system_identifier = s.system_identifier, timeline = s.timeline,
          restored_position = case when \(losingNothing) then i.restored_position
            else (select coalesce(max(e.position), 0) from event_store.events e) end
        from event_store.server_identity() s
        returning i.history_id
        """
      ).value(UUID.self)
      // Checkpoints of reactions are in this store, and went back with it: they are of the new history.
      if try connection.query("select to_regclass('projections.checkpoints') is not null").value(Bool.self) {
        try connection.query(
          """
          update projections.checkpoints c set history_id = \(historyID)
          where c.projection like 'reaction/%' and (c.position <= event_store.archived_position() or exists (
            select from event_store.events e where e.position = c.position and e.id = c.event_id))
          """)
      }
      for start in stride(from: 0, to: erasures.count, by: 500) {
        try connection.repeatErasures(erasures[start..<min(start + 500, erasures.count)], in: historyID)
      }
      let head = try connection.query("select coalesce(max(position), 0) from event_store.events").value(Int64.self)
      return (historyID, Position(head))
    }
  }
}

extension PostgresEventStore {
  /// Repeats erasures of personal data, while services run.
  /// - Parameter erasures: those that the store does not have.
  package static func repeatErasures(_ erasures: [Erasure], _ connection: PostgresConnection) async throws {
    for start in stride(from: 0, to: erasures.count, by: 500) {
      try await connection.transaction { connection in
        let historyID = try connection.query("select history_id from event_store.identity").value(UUID.self)
        try connection.repeatErasures(erasures[start..<min(start + 500, erasures.count)], in: historyID)
      }
    }
  }
}

/// It was declared that nothing is lost, and an event is.
struct LostEvents: Error, CustomStringConvertible { let description: String }
