internal import EventSourcing
internal import Postgres
internal import PostgresEventStore

// Folds the rows again, some streams at a time, so that memory does not grow with the number of events.
extension Verification {
  /// The numbers of streams folded at once, and of their events read at once.
  static let streamsAtOnce = 250
  static let eventsAtOnce = 2_000

  mutating func checkRows(_ subject: Subject, _ chosen: Set<Int>?) async throws {
    let (projection, generation) = (subject.projection, subject.generation)
    let table = generation.table(projection.tables[0])
    for partition in generation.partitioning.partitions where chosen?.contains(partition.index) ?? true {
      let replay = projection.replaying(true)
      try await forEachGroup(of: partition, subject, replay) { result in
        try await result.compare(try replay.takeRows(), with: table, on: subject.connection)
      }
      partitionsReplayed += 1
      try await checkSums(replay, partition, subject)
    }
    guard chosen == nil else { return }
    let count = try await subject.connection.query("select count(*) from \(unescaped: table)").value(Int.self)
    guard count != rows else { return }
    try await findStrangers(in: table, subject)
  }

  /// Folds the streams of a partition group by group, each stream to its end.
  private mutating func forEachGroup(
    of partition: Partition, _ subject: Subject, _ replay: any AnyReplay,
    _ body: (inout Verification) async throws -> Void
  ) async throws {
    let (snapshot, store) = (subject.snapshot, subject.store)
    let end = snapshot.checkpoints[partition.index].position
    let given = Set(snapshot.discarded.map(\.position))
    var buckets = partition.buckets.makeIterator()
    var (bucket, from) = (buckets.next(), Position.start)
    while let current = bucket {
      let begun = try await store.streams(
        inBucket: current, beginningAfter: from, upTo: end, categories: subject.projection.categories,
        limit: Self.streamsAtOnce)
      guard let last = begun.last else {
        (bucket, from) = (buckets.next(), .start)
        continue
      }
      var open = Dictionary(uniqueKeysWithValues: begun.map { ($0.stream, StreamCursor(version: .none)) })
      while !open.isEmpty {
        let limit = max(1, Self.eventsAtOnce / open.count)
        let pages = try await store.events(in: open, limit: limit)
        let counted = pages.mapValues { page in
          page.prefix { event in
            event.position <= end && (snapshot.parked[event.stream].map { event.version < $0 } ?? true)
          }
        }
        most.events = max(most.events, pages.values.reduce(0) { $0 + $1.count })
        try await replay.apply(
          counted.values.flatMap { $0.filter { !given.contains($0.position) } }, subject.generation)
        try await boundSums(replay, subject)
        for stream in open.keys {
          let (page, counted) = (pages[stream] ?? [], counted[stream] ?? [])
          open[stream] = counted.last.flatMap { event in
            page.count == limit && counted.count == limit
              ? StreamCursor(version: event.version, position: event.position) : nil
          }
        }
      }
      most.rows = max(most.rows, replay.rowCount)
      try await body(&self)
      from = last.position
    }
  }

  private mutating func compare(
    _ expected: [ExactText: ReplayedDocument], with table: String, on connection: PostgresConnection
  ) async throws {
    let found = try await connection.query(
      "select key, version, document from \(unescaped: table) where key = any(\(array: expected.keys.map(\.text)))"
    ).decode((String, Int64, PostgresBytes).self)
    let rows = Dictionary(uniqueKeysWithValues: found.map { (ExactText($0.0), (Version($0.1), $0.2.bytes)) })
    self.rows += rows.count
    for (key, wanted) in expected {
      guard let row = rows[key] else {
        find("\(table) has no row \(key)")
        continue
      }
      if row.0 != wanted.version {
        find("\(table), row \(key): version \(row.0), the events come to version \(wanted.version)")
      } else if row.1 != wanted.bytes {
        find("\(table), row \(key): the document is not what its events come to")
      }
    }
  }

  /// Reports the rows that no event made. Only this step keeps something for every row: eight bytes each.
  private mutating func findStrangers(in table: String, _ subject: Subject) async throws {
    var known: Set<Int> = []
    for partition in subject.generation.partitioning.partitions {
      let replay = subject.projection.replaying(false)
      try await forEachGroup(of: partition, subject, replay) { _ in
        for key in try replay.takeRows().keys { known.insert(key.hashValue) }
      }
    }
    var after = ""
    while true {
      let keys = try await subject.connection.query(
        "select key from \(unescaped: table) where key > \(after) order by key limit 5000"
      ).decode(String.self)
      for key in keys where !known.contains(ExactText(key).hashValue) {
        find("\(table) has a row \(key) that no event made")
      }
      guard let last = keys.last else { break }
      after = last
    }
  }
}
