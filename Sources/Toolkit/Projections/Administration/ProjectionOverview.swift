package import EventSourcing
package import Postgres

/// Every assignment and its owner, for a display that is redrawn each second: like `ProjectionStatus`, but without
/// counting events.
package struct ProjectionOverview: Sendable {
  /// One partition of a generation.
  package struct Assignment: Sendable {
    /// The worker's name; nil while there is no owner.
    package let owner: String?
    /// `live`, `catching up`, `halted`, `forked` or `done`.
    package let mode: String
    /// The position up to which the partition is applied.
    package let position: Position
    /// Why it stopped; nil while it runs.
    package let trouble: String?
  }

  /// A generation and its partitions.
  package struct Entry: Sendable {
    /// The generation.
    package let generation: Generation
    /// By partition.
    package let assignments: [Assignment]
  }

  /// Every generation, by projection and number.
  package let entries: [Entry]

  /// Creates an overview.
  package init(entries: [Entry]) { self.entries = entries }

  /// Reads the overview.
  /// - Parameters:
  ///   - store: the read store; for reactions the write store.
  ///   - isOfReactions: whether to read the reactions, or the read models. Both kinds may be in one database.
  package static func read(_ store: PostgresPool, ofReactions isOfReactions: Bool) async throws -> ProjectionOverview {
    let rows = try await store.query(
      """
      select c.projection, c.generation, w.name, c.mode, c.position, c.error
      from projections.checkpoints c
      left join projections.workers w on w.id = c.owner and w.expires_at > clock_timestamp()
      where starts_with(c.projection, \(Projection.reactionPrefix)) = \(isOfReactions)
      order by c.projection, c.generation, c.partition
      """
    ).decode((String, Int, String?, String, Int64, String?).self)
    let names = Array(Set(rows.map(\.0)))
    let entries = try await Generations(store).all(of: names).map { generation in
      Entry(
        generation: generation,
        assignments: rows.lazy.filter { $0.0 == generation.projection && $0.1 == generation.number }.map {
          Assignment(owner: $0.2, mode: $0.3, position: Position($0.4), trouble: $0.5)
        })
    }
    return ProjectionOverview(entries: entries.sorted { $0.generation.projection < $1.generation.projection })
  }

  /// Returns the names of the processes that run projections of this kind, also of those that have no assignment.
  package static func workers(_ store: PostgresPool, ofReactions isOfReactions: Bool) async throws -> Set<String> {
    let names = try await store.query(
      """
      select distinct w.name from projections.workers w cross join unnest(w.serves) as s(service)
      where w.expires_at > clock_timestamp() and starts_with(s.service, \(Projection.reactionPrefix)) = \(isOfReactions)
      """
    ).decode(String.self)
    return Set(names)
  }
}
