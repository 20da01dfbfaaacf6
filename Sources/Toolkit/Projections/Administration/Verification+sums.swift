internal import EventSourcing
internal import Postgres

// Checks the sums. Up to a limit they are in memory. Beyond it they go to temporary tables in the read store, and are
// compared there, so that memory does not grow with the number of sums in a partition.
extension Verification {
  private static let sumsAtOnce = 5_000

  /// The tables for the expected sums of one partition, in the order of the tables of totals.
  private static func targets(_ projection: Projection) -> [String] {
    projection.totals.indices.map { "pg_temp.expected_sums_\($0)" }
  }

  /// Moves the sums to the server if there are too many.
  mutating func boundSums(_ replay: any AnyReplay, _ subject: Subject) async throws {
    most.sums = max(most.sums, replay.sumCount)
    guard replay.sumCount > sumLimit else { return }
    try await moveSums(replay, subject)
  }

  private mutating func moveSums(_ replay: any AnyReplay, _ subject: Subject) async throws {
    let targets = Self.targets(subject.projection)
    for (target, name) in zip(targets, subject.projection.tables.dropFirst()) where sumsMoved == 0 {
      try await subject.connection.execute(
        "create temporary table \(target) (like \(subject.generation.table(name))) on commit drop")
    }
    try await replay.moveSums(to: targets) { try await subject.connection.query($0) }
    sumsMoved += 1
  }

  /// Compares the sums of a partition whose streams have been folded.
  mutating func checkSums(_ replay: any AnyReplay, _ partition: Partition, _ subject: Subject) async throws {
    let (projection, generation) = (subject.projection, subject.generation)
    let isMoved = sumsMoved > 0
    // A part of the sums was moved before: the rest must follow.
    if isMoved { try await moveSums(replay, subject) }
    for (index, name) in projection.tables.dropFirst().enumerated() {
      let table = generation.table(name)
      let (query, place) = (projection.totals[index](table, partition.index), "\(table), partition \(partition.index)")
      if isMoved {
        let target = Self.targets(projection)[index]
        try await compare(projection.totals[index](target, partition.index), with: query, place, subject.connection)
        try await subject.connection.execute("truncate \(target)")
      } else {
        try await compare(replay.sums(of: name), with: query, place, on: subject.connection)
      }
    }
  }

  /// Compares sums as they come from the server, so that only the expected ones are in memory.
  private mutating func compare(
    _ expected: [ExactText: String], with query: Query, _ place: String, on connection: PostgresConnection
  ) async throws {
    var left = expected
    try await connection.query(Query("declare sums no scroll cursor for \(query.sql)", query.binds))
    while true {
      let found = try await connection.query("fetch \(unescaped: String(Self.sumsAtOnce)) from sums")
        .decode((String, String).self)
      for (key, sums) in found {
        let wanted = left.removeValue(forKey: ExactText(key))
        if wanted != sums { find("\(place), row \(key): \(sums), the events come to \(wanted ?? "nothing")") }
      }
      if found.count < Self.sumsAtOnce { break }
    }
    try await connection.query("close sums")
    for (key, sums) in left { find("\(place), row \(key): nothing, the events come to \(sums)") }
  }

  /// Compares sums that are both on the server. The two queries have the same parameter.
  private mutating func compare(
    _ expected: Query, with found: Query, _ place: String, _ connection: PostgresConnection
  ) async throws {
    let differences = try await connection.query(
      Query(
        """
        select k, f.c, e.c, count(*) over () from (\(found.sql)) f full join (\(expected.sql)) e using (k)
        where f.c is distinct from e.c limit \(Self.findingLimit)
        """, found.binds)
    ).decode((String, String?, String?, Int).self)
    for (key, found, wanted, _) in differences {
      find("\(place), row \(key): \(found ?? "nothing"), the events come to \(wanted ?? "nothing")")
    }
    findingCount += (differences.first?.3 ?? 0) - differences.count
  }
}
