internal import EventSourcing
internal import Failures
internal import FoundationEssentials
package import Postgres
package import PostgresEventStore

/// A proof that a projection has applied every event, and that its rows match the events.
///
/// Completeness: for each partition and block of 65,536 positions, the ledger, the events of parked streams and the
/// discarded events together have the number and the ids of the store's events. Correctness: the events are folded
/// again, and every row is compared.
package struct Verification: Sendable {
  /// The name of the projection.
  package let projection: String
  /// The number of the generation.
  package let generation: Int
  /// The number of events up to the checkpoints, in the projection's categories.
  package var events: Int64 = 0
  /// The number of events of parked streams, which wait to be applied.
  package var waiting = 0
  /// The number of events that an operator has discarded.
  package var discarded = 0
  /// The number of rows that were compared.
  package var rows = 0
  /// The number of partitions whose events were folded again.
  package var partitionsReplayed = 0
  /// The first problems, as text.
  package var findings: [String] = []
  /// The number of problems, including those that `findings` leaves out.
  package var findingCount = 0

  /// Whether no problem was found.
  package var holds: Bool { findingCount == 0 }

  /// The maximum numbers of events, rows and sums in memory at once. They do not grow with the partition.
  var most: (events: Int, rows: Int, sums: Int) = (0, 0, 0)
  /// The number of sums in memory above which they move to the server. A page of events may add some more.
  let sumLimit: Int
  /// How often the sums moved to the server.
  var sumsMoved = 0

  static let findingLimit = 20

  mutating func find(_ finding: String) {
    findingCount += 1
    if findings.count < Self.findingLimit { findings.append(finding) }
  }
}

extension Verification {
  /// Verifies one generation.
  /// - Parameters:
  ///   - projection: the projection.
  ///   - generation: one of its generations.
  ///   - connection: to the read store, and used for nothing else: it holds one snapshot until the end.
  ///   - store: the write store.
  ///   - partitions: the indices, from 0, of the partitions whose rows are folded again; nil for all.
  ///   - sumLimit: about how many sums are held in memory. If a partition has more, the connection's user must be
  ///     allowed to create temporary tables, and the server must not be a standby.
  package static func verify(
    _ projection: Projection, _ generation: Generation, on connection: PostgresConnection,
    _ store: PostgresEventStore, partitions: Set<Int>?, sumLimit: Int = 50_000
  ) async throws -> Verification {
    var result = Verification(projection: projection.name, generation: generation.number, sumLimit: sumLimit)
    // Nothing is written except temporary tables, which a read-only transaction cannot create.
    try await connection.execute("begin isolation level repeatable read")
    do {
      let snapshot = try await Snapshot(of: generation, isCorrelated: projection.isCorrelated, on: connection)
      try await result.checkHistory(snapshot, generation, store)
      try await result.checkCompleteness(snapshot, projection, generation, store)
      let subject = Subject(
        snapshot: snapshot, projection: projection, generation: generation, connection: connection, store: store)
      if !projection.isReaction { try await result.checkRows(subject, partitions) }
    } catch {
      try? await connection.execute("rollback")
      switch FailureKind(error) {
      case .retry, .historyChanged: throw error
      // An event that cannot be read keeps no other projection from being verified.
      case .refused, .programmingError: result.find("cannot be verified further: \(error)")
      }
      return result
    }
    try await connection.execute("rollback")
    return result
  }

  struct Subject {
    let snapshot: Snapshot
    let projection: Projection
    let generation: Generation
    let connection: PostgresConnection
    let store: PostgresEventStore
  }

  struct Snapshot {
    let checkpoints: [(position: Position, eventID: UUID?, historyID: UUID)]
    let ledger: [Ledger.Key: Ledger.Entry]
    /// Where streams wait.
    let parked: [StreamID: Version]
    /// Events that wait with a parked process.
    let held: [(partition: Int, position: Position, eventID: UUID)]
    let discarded: [(partition: Int, position: Position, eventID: UUID)]
    /// Earlier versions that took other categories, the oldest first, and where each partition ended.
    let takeovers: [(categories: Set<String>, ends: [Position])]

    init(
      of generation: Generation, isCorrelated: Bool, on connection: PostgresConnection
    ) async throws {
      let (name, number) = (generation.projection, Int32(generation.number))
      checkpoints = try await connection.query(
        """
        select position, event_id, history_id from projections.checkpoints
        where projection = \(name) and generation = \(number) order by partition
        """
      ).decode((Int64, UUID?, UUID).self).map { (Position($0.0), $0.1, $0.2) }
      let entries = try await connection.query(
        """
        select partition, block, sum(applied)::bigint, bit_xor(ids) from projections.applied
        where projection = \(name) and generation = \(number) group by partition, block
        """
      ).decode((Int, Int64, Int64, Int64).self)
      ledger = Dictionary(
        uniqueKeysWithValues: entries.map {
          (Ledger.Key(partition: $0.0, block: $0.1), Ledger.Entry(count: $0.2, ids: $0.3))
        })
      let streams = try await connection.query(
        """
        select stream, version, partition, position, event_id from projections.parked
        where projection = \(name) and generation = \(number)
        """
      ).decode((String, Int64, Int, Int64, UUID).self)
      let behind = try await connection.query(
        """
        select partition, position, event_id from projections.waiting
        where projection = \(name) and generation = \(number)
        """
      ).decode((Int, Int64, UUID).self).map { ($0.0, Position($0.1), $0.2) }
      if isCorrelated {
        (parked, held) = ([:], streams.map { ($0.2, Position($0.3), $0.4) } + behind)
      } else {
        parked = Dictionary(uniqueKeysWithValues: streams.map { (StreamID(rawValue: $0.0), Version($0.1)) })
        held = behind
      }
      discarded = try await connection.query(
        """
        select partition, position, event_id from projections.discarded
        where projection = \(name) and generation = \(number)
        """
      ).decode((Int, Int64, UUID).self).map { ($0.0, Position($0.1), $0.2) }
      takeovers = try await connection.query(
        """
        select array_to_string(categories, ' '), string_agg(position::text, ' ' order by partition)
        from projections.takeovers where projection = \(name) and generation = \(number)
        group by ordinal, categories order by ordinal
        """
      ).decode((String, String).self).map { row in
        (
          Set(row.0.split(separator: " ").map(String.init)),
          row.1.split(separator: " ").compactMap { Int64($0) }.map { Position($0) }
        )
      }
    }
  }

  private mutating func checkHistory(
    _ snapshot: Snapshot, _ generation: Generation, _ store: PostgresEventStore
  ) async throws {
    guard snapshot.checkpoints.count == generation.partitioning.count else {
      return find(
        "there are checkpoints for \(snapshot.checkpoints.count) of \(generation.partitioning.count) partitions")
    }
    let historyID = try await store.historyID()
    for (partition, checkpoint) in zip(generation.partitioning.partitions, snapshot.checkpoints) {
      guard checkpoint.historyID == historyID else {
        find("partition \(partition) belongs to history id \(checkpoint.historyID), the store is \(historyID)")
        continue
      }
      guard checkpoint.position > .start else { continue }
      let event = try await store.page(
        of: partition, from: checkpoint.position, categories: [], limit: PageLimit(events: 1)
      ).events.first
      if event?.position != checkpoint.position || event?.id != checkpoint.eventID {
        find("partition \(partition) stands at an event that is not in the store, position \(checkpoint.position)")
      }
    }
  }

  /// Returns what the ledger should be: every version's categories, up to where the next one took over.
  private func stored(
    _ snapshot: Snapshot, _ projection: Projection, _ generation: Generation, _ store: PostgresEventStore
  ) async throws -> [Ledger.Key: Ledger.Entry] {
    let partitions = generation.partitioning.partitions
    var stored: [Ledger.Key: Ledger.Entry] = [:]
    var begins = partitions.map { _ in generation.from }
    let last = (categories: projection.categories, ends: snapshot.checkpoints.map(\.position))
    for version in snapshot.takeovers + [last] {
      let places = partitions.map { (partition: $0, after: begins[$0.index], upTo: version.ends[$0.index]) }
      for digest in try await store.digests(of: version.categories, in: places) {
        stored[Ledger.Key(partition: digest.partition, block: digest.block), default: .init()].add(digest)
      }
      begins = zip(begins, version.ends).map { max($0, $1) }
    }
    return stored
  }

  private mutating func checkCompleteness(
    _ snapshot: Snapshot, _ projection: Projection, _ generation: Generation, _ store: PostgresEventStore
  ) async throws {
    var accounted = snapshot.ledger
    for event in snapshot.discarded {
      accounted[Ledger.Key(generation.partitioning.partitions[event.partition], event.position), default: .init()]
        .add(event.eventID)
      discarded += 1
    }
    for event in snapshot.held {
      accounted[Ledger.Key(generation.partitioning.partitions[event.partition], event.position), default: .init()]
        .add(event.eventID)
      waiting += 1
    }
    for (stream, version) in snapshot.parked {
      let partition = generation.partitioning.partition(of: stream)
      var cursor = StreamCursor(version: Version(version.rawValue - 1))
      while true {
        let page = try await store.events(in: [stream: cursor], limit: 1_000)[stream] ?? []
        for event in page where event.position <= snapshot.checkpoints[partition.index].position {
          accounted[Ledger.Key(partition, event.position), default: .init()].add(event.id)
          waiting += 1
        }
        guard page.count == 1_000, let last = page.last else { break }
        cursor = StreamCursor(version: last.version, position: last.position)
      }
    }
    for (key, stored) in try await stored(snapshot, projection, generation, store) {
      events += stored.count
      let entry = accounted.removeValue(forKey: key) ?? .init()
      let place = "partition \(key.partition), positions \(key.block << 16) to \((key.block + 1) << 16 - 1)"
      if entry.count != stored.count {
        find("\(place): \(entry.count) events are accounted for, the store has \(stored.count)")
      } else if entry.ids != stored.ids {
        find("\(place): other events are accounted for than the store has")
      }
    }
    for (key, entry) in accounted where entry.count != 0 {
      find(
        "partition \(key.partition), block \(key.block): \(entry.count) events are accounted for, the store has none")
    }
  }
}
