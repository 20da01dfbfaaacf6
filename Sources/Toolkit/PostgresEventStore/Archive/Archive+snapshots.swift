package import EventSourcing
internal import Postgres

// Decisions on a stream need the state that its archived events made: a snapshot keeps it.
extension Archive {
  /// Streams in a partition whose state is not in a snapshot.
  package enum Uncovered: Error, CustomStringConvertible {
    /// The aggregates of this category have no snapshots, or are not known.
    case noSnapshots(category: String, stream: StreamID, part: Part)
    /// Two aggregates of a category would overwrite each other's snapshots.
    case sameSchemaVersion(category: String)

    package var description: String {
      switch self {
      case .noSnapshots(let category, let stream, let part):
        """
        positions \(part.lower) to \(part.upper - 1) have events of the stream \(stream), whose state would be lost: make \
        the aggregate of the category \(category) a SnapshottingAggregate, and declare it
        """
      case .sameSchemaVersion(let category):
        "two aggregates of the category \(category) have snapshots with the same schemaVersion: give one another version"
      }
    }
  }

  private static let streamsAtOnce = 256

  /// Saves a snapshot of every stream that has events in a partition, unless it has one that includes them.
  /// - Parameters:
  ///   - part: the partition.
  ///   - aggregates: all aggregates of the application; several may fold streams of one category.
  ///   - isDryRun: saves nothing.
  /// - Returns: the number of snapshots that were missing.
  /// - Throws: `Uncovered`; `EventDecodingError` for an event that this build cannot read.
  package func cover(_ part: Part, _ aggregates: [any Aggregate.Type], isDryRun: Bool = false) async throws -> Int {
    let kinds = Dictionary(grouping: Kind.all(aggregates), by: \.category)
    let versions = kinds.values.joined().compactMap { kind in kind.schemaVersion.map { (kind.category, Int32($0)) } }
    for (category, kinds) in kinds {
      let versions = kinds.compactMap(\.schemaVersion)
      guard Set(versions).count == versions.count else { throw Uncovered.sameSchemaVersion(category: category) }
    }
    var (last, missing) = ("", 0)
    while true {
      let page = try await streams(of: part, after: last, categories: versions.map(\.0), versions.map(\.1))
      for (name, isCovered) in page {
        let stream = StreamID(rawValue: name)
        let category = String(stream.category)
        guard let known = kinds[category], !known.contains(where: { $0.schemaVersion == nil }) else {
          throw Uncovered.noSnapshots(category: category, stream: stream, part: part)
        }
        guard !isCovered else { continue }
        missing += known.count
        guard !isDryRun else { continue }
        for kind in known { try await save(AggregateReference(kind.type, stream)) }
      }
      guard page.count == Self.streamsAtOnce, let end = page.last else { return missing }
      last = end.stream
    }
  }

  /// An aggregate that folds the streams of a category.
  private struct Kind {
    let type: any Aggregate.Type

    /// Returns each aggregate once.
    static func all(_ aggregates: [any Aggregate.Type]) -> [Kind] {
      var seen: Set<ObjectIdentifier> = []
      return aggregates.filter { seen.insert(ObjectIdentifier($0)).inserted }.map { Kind(type: $0) }
    }

    var category: String { type.category }
    var schemaVersion: Int? { (type as? any SnapshottingAggregate.Type)?.snapshotPolicy.schemaVersion }
  }

  /// Returns a page of a partition's streams by name, and whether each has all snapshots that it needs.
  private func streams(
    of part: Part, after last: String, categories: [String], _ versions: [Int32]
  ) async throws -> [(stream: String, isCovered: Bool)] {
    try await store.pool.query(
      """
      select l.stream, not exists (
        select from unnest(\(array: categories), \(array: versions)) as u(category, schema_version)
        where u.category = split_part(l.stream, '-', 1) and not exists (
          select from event_store.snapshots s
          where s.stream = l.stream and s.schema_version = u.schema_version and s.version >= l.version and exists (
            select from event_store.events e
            where e.position = s.position and e.id = s.event_id and e.stream = s.stream and e.version = s.version)))
      from (
        select e.stream, max(e.version) as version from event_store.events_\(unescaped: "\(part.lower)") e
        where e.stream > \(last) group by e.stream order by e.stream limit \(Self.streamsAtOnce)) l
      """, timeout: .seconds(600)
    ).decode((String, Bool).self).map { ($0.0, $0.1) }
  }

  private func save(_ reference: AggregateReference) async throws {
    let state = try await store.state(of: reference) { _ in }
    if let snapshot = try state.snapshot(of: reference.stream) { try await store.save(snapshot) }
  }
}
