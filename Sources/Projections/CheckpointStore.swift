internal import EventSourcing
internal import FoundationEssentials
internal import Postgres

/// Another worker has taken the pairs over: this one must not write for them any more.
struct FencedError: Error, CustomStringConvertible {
  let projection: String
  var description: String { "another projector owns the checkpoints of \(projection) now" }
}

/// The checkpoints were made with another number of partitions.
struct PartitioningError: Error, CustomStringConvertible {
  let projection: String
  let found: Int
  let configured: Int
  var description: String {
    "the checkpoints of \(projection) are for \(found) partitions, PARTITIONS is \(configured); set it to \(found)"
  }
}

/// The checkpoints of one projection, as their owner sees them.
struct CheckpointStore: Sendable {
  let projection: String
  let owner: UUID

  /// A move of one pair's checkpoint.
  struct Advance: Sendable {
    let partition: Partition
    let from: Checkpoint
    let to: Checkpoint
  }

  /// Takes ownership of every pair, making those that are not there.
  func claim(
    _ partitioning: Partitioning, incarnation: UUID, on pool: PostgresPool
  ) async throws -> [Pair] {
    let counts = try await pool.query(
      "select distinct partition_count from projections.checkpoints where projection = \(projection)"
    ).decode(Int.self)
    if let other = counts.first(where: { $0 != partitioning.count }) {
      throw PartitioningError(projection: projection, found: other, configured: partitioning.count)
    }
    let rows = try await pool.query(
      """
      insert into projections.checkpoints as c (projection, partition, partition_count, owner, incarnation, position)
      select \(projection), p, \(Int32(partitioning.count)), \(owner), \(incarnation), 0
      from generate_series(0, \(Int32(partitioning.count - 1))) as p
      on conflict (projection, partition) do update set owner = excluded.owner
      returning c.partition, c.incarnation, c.position, c.event_id
      """
    ).decode((Int, UUID, Int64, UUID?).self)
    return rows.sorted { $0.0 < $1.0 }.map { row in
      Pair(
        partition: partitioning.partitions[row.0], incarnation: row.1,
        checkpoint: Checkpoint(position: Position(row.2), eventID: row.3))
    }
  }

  /// Moves checkpoints, in the transaction that writes their rows.
  /// - Throws: `FencedError` when one of them is not this owner's, or not where it left it.
  func advance(_ advances: [Advance], on connection: isolated PostgresConnection) throws {
    let result = try connection.query(
      """
      update projections.checkpoints c
      set position = u.position, event_id = u.event_id, updated_at = clock_timestamp(), halted_at = null, error = null
      from unnest(
        \(array: advances.map { Int32($0.partition.index) }), \(array: advances.map(\.from.position.rawValue)),
        \(array: advances.map(\.to.position.rawValue)), \(array: advances.map(\.to.eventID)))
        as u(partition, previous, position, event_id)
      where c.projection = \(projection) and c.partition = u.partition and c.owner = \(owner)
        and c.position = u.previous
      """)
    guard result.affectedRows == advances.count else { throw FencedError(projection: projection) }
  }

  /// Records that a pair has stopped, for people to see.
  func halt(_ partition: Partition, at position: Position, error: String, on pool: PostgresPool) async throws {
    try await pool.query(
      """
      update projections.checkpoints set halted_at = \(position.rawValue), error = \(error)
      where projection = \(projection) and partition = \(Int32(partition.index)) and owner = \(owner)
      """)
  }
}
