package import EventSourcing
package import Postgres

/// Why events may not be archived yet: a projection still has to apply some of them.
package enum ArchiveObstacle {
  /// Returns the first reason; nil if no projection of a store needs the events.
  /// - Parameters:
  ///   - pool: the read store, or for reactions the write store.
  ///   - upper: the first position that stays.
  ///   - heads: the last event to be archived in each of the 64 ranges of hashes that has one.
  ///   - isWanted: whether the projection of that name is asked for. Both kinds may be in one database.
  package static func find(
    in pool: PostgresPool, before upper: Position, heads: [Int: Position], of isWanted: (String) -> Bool
  ) async throws -> String? {
    let checkpoints = try await pool.query(
      """
      select projection, generation, partition, partition_count, position from projections.checkpoints
      order by projection, generation, partition
      """
    ).decode((String, Int, Int, Int, Int64).self)
    for (name, generation, index, count, position) in checkpoints where isWanted(name) {
      guard let partitioning = Partitioning(count: count), partitioning.partitions.indices.contains(index) else {
        return "generation \(generation) of \(name) has a partitioning that this build does not know"
      }
      let last = partitioning.partitions[index].buckets.compactMap { heads[$0]?.rawValue }.max() ?? 0
      guard position >= last else {
        return """
          generation \(generation) of \(name) has applied partition \(index) only up to position \(position): let it catch \
          up, or discard it
          """
      }
    }
    let parked = try await pool.query(
      """
      select projection, stream, position from projections.parked where position < \(upper.rawValue)
      union all
      select projection, stream, position from projections.waiting where position < \(upper.rawValue)
      order by projection, position
      """
    ).decode((String, String, Int64).self)
    for (name, stream, position) in parked where isWanted(name) {
      return "the stream \(stream) is parked in \(name), with the event at position \(position): retry or discard it"
    }
    return nil
  }
}
