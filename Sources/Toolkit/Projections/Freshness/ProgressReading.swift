package import EventSourcing
package import FoundationEssentials
internal import Postgres

/// How far the serving generations have come, as read at one time.
package struct ProgressReading: Sendable {
  package struct Serving: Sendable {
    let projection: String
    let generation: Int
    let partitioning: Partitioning
    /// The history id of all checkpoints, if it was read and is one.
    let historyID: UUID?
    /// By partition; -1 if the checkpoint belongs to another history.
    let positions: [Int64]

    package init(
      projection: String, generation: Int, partitioning: Partitioning, historyID: UUID?, positions: [Int64]
    ) {
      self.projection = projection
      self.generation = generation
      self.partitioning = partitioning
      self.historyID = historyID
      self.positions = positions
    }
  }

  /// A stream that waits at an event which failed.
  package struct Parked: Sendable {
    let projection: String
    let stream: StreamID
    let position: Position

    package init(projection: String, stream: StreamID, position: Position) {
      self.projection = projection
      self.stream = stream
      self.position = position
    }
  }

  let serving: [Serving]
  let parked: [Parked]

  package init(serving: [Serving], parked: [Parked]) { (self.serving, self.parked) = (serving, parked) }

  /// Reads the checkpoints of a server.
  /// - Parameter historyID: checkpoints of other histories count as -1; nil while the write store's is not known.
  init(_ pool: PostgresPool, of historyID: UUID?) async throws {
    let rows = try await pool.query(
      """
      select g.projection, g.generation, g.partition_count,
        case when min(i.history_id) = max(i.history_id) then min(i.history_id) end,
        string_agg((case when \(optional: historyID) is null or c.history_id = \(optional: historyID)
          then c.position else -1 end)::text, ' ' order by c.partition)
      from projections.generations g
      join projections.checkpoints c on c.projection = g.projection and c.generation = g.generation
      cross join lateral (select case when \(optional: historyID) is null then c.history_id::text end) i(history_id)
      where g.state = 'serving' group by g.projection, g.generation, g.partition_count
      """
    ).decode((String, Int, Int, String?, String).self)
    serving = rows.compactMap { name, generation, count, only, text in
      guard let partitioning = Partitioning(count: count) else { return nil }
      let positions = text.utf8.split(separator: UInt8(ascii: " ")).map { Int64(Substring($0)) ?? -1 }
      guard positions.count == count else { return nil }
      return Serving(
        projection: name, generation: generation, partitioning: partitioning,
        historyID: only.flatMap { UUID(uuidString: $0) }, positions: positions)
    }
    parked = try await pool.query(
      """
      select p.projection, p.stream, p.position from projections.parked p
      join projections.generations g on g.projection = p.projection and g.generation = p.generation
      where g.state = 'serving'
      """
    ).decode((String, String, Int64).self)
      .map { Parked(projection: $0.0, stream: StreamID(rawValue: $0.1), position: Position($0.2)) }
  }
}
