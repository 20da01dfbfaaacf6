internal import ArgumentParser
internal import EventSourcing
internal import Foundation
internal import Machine
internal import Postgres
internal import PostgresEventStore
internal import Projections

/// Rebuilds a projection's tables beside those that serve.
struct Rebuild: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Fills new tables for a read model, compares them with the old ones, and lets the new ones serve.",
    discussion: """
      The running projectors share the work. Queries read the old tables meanwhile. If this command is interrupted, the \
      projectors continue; run it again to finish. Projectors keep the old generation up to date, so that --rollback \
      takes effect at once. The next rebuild, or --discard, removes it.

      --until fills a generation with the events up to a moment of the past, and prints the names of its tables. You can \
      query them until you discard the generation.
      """)

  @Argument(help: "The read model.") var projection: String
  @Flag(help: "Let the generation that served before serve again.") var rollback = false
  @Option(help: "Fill a generation up to this position, or this time, such as 2026-11-21T09:30:00Z.") var until: String?
  @Option(help: "Discard this generation.") var discard: Int?
  @Flag(help: "Keep the old generation serving if any row differs.") var onlyIfEqual = false

  func validate() throws {
    guard [rollback, until != nil, discard != nil].count(where: { $0 }) <= 1 else {
      throw ValidationError("use only one of --rollback, --until and --discard")
    }
  }

  func run() async throws {
    try await reportingSettings {
      let stores = try Stores()
      guard !Projection.isReaction(projection) else {
        throw ValidationError("a reaction has no tables, and must not react again: only read models are rebuilt")
      }
      let rebuilding = Rebuilding(stores: stores, projection: try stores.projections([projection])[0])
      if rollback {
        try await rebuilding.rollBack()
      } else if let discard {
        try await rebuilding.discard(discard)
      } else if let until {
        try await rebuilding.buildPast(until)
      } else {
        try await rebuilding.rebuild(onlyIfEqual: onlyIfEqual)
      }
    }
  }
}

private struct Rebuilding {
  let stores: Stores
  let projection: Projection

  private var table: Generations { Generations(stores.readStore) }

  private func generations() async throws -> [Generation] { try await table.all(of: [projection.name]) }

  func rebuild(onlyIfEqual: Bool) async throws {
    try await stores.events.refuseArchived(after: .start)
    var before = try await generations()
    guard let serving = before.first(where: { $0.state == .serving }) else {
      throw ValidationError("\(projection.name) has no generation yet: start a projector, which creates the first one")
    }
    if let forked = before.first(where: { $0.state == .building }), try await isForked(forked) {
      _ = try await table.drop(projection.name, forked.number)
      print("Removed generation \(forked.number): it was being built from another history.")
      before = try await generations()
    }
    if let building = before.first(where: { $0.state == .building }) {
      print("Generation \(building.number) is already being built; waiting until it is complete.")
    } else {
      let number = try await table.add(
        projection, serving.partitioning, historyID: try await stores.events.historyID(), state: .building,
        activates: false)
      if let number {
        print("Building generation \(number) of \(projection.name) beside generation \(serving.number).")
      }
    }
    guard let building = try await generations().first(where: { $0.state == .building }) else {
      throw ValidationError(
        "another command has discarded the new generation; see \(Administration.current.program) status")
    }
    try await follow(building, total: try await applied(serving))
    let comparison = try await GenerationComparison.compare(projection, serving, building, on: stores.readStore)
    show(comparison, serving, building)
    if !comparison.isEqual && onlyIfEqual {
      print(
        "Generation \(serving.number) keeps serving, because rows differ. Generation \(building.number) stays, so that you can look at its tables."
      )
      throw ExitCode(1)
    }
    var attempts = 0
    while let reason = try await table.activate(building, of: stores.events) {
      // The projectors may have let it serve already.
      if try await expect(building, [.building, .serving]).state == .serving { break }
      attempts += 1
      if attempts.isMultiple(of: 10) { print("Generation \(building.number) does not serve yet: \(reason).") }
      guard attempts < 120 else {
        throw ValidationError(
          "generation \(building.number) does not serve: \(reason); see \(Administration.current.program) status")
      }
      try await Machine.sleep(for: .milliseconds(500))
    }
    print(
      "Generation \(building.number) serves now. To go back to generation \(serving.number): \(Administration.current.program) rebuild \(projection.name) --rollback"
    )
    for old in before where old.state == .kept {
      if try await table.drop(projection.name, old.number) { print("Removed generation \(old.number).") }
    }
  }

  func rollBack() async throws {
    let kept = try await generations().filter { $0.state == .kept }.max { $0.number < $1.number }
    guard let kept else { throw ValidationError("there is no earlier generation of \(projection.name) to go back to") }
    var last = ""
    for _ in 0..<20 {
      guard let reason = try await table.activate(kept, of: stores.events) else {
        return print("Generation \(kept.number) serves again.")
      }
      last = reason
      try await Machine.sleep(for: .milliseconds(500))
    }
    throw ValidationError(
      "generation \(kept.number) does not serve: \(last); a projector of version \(kept.version) must run; see \(Administration.current.program) status"
    )
  }

  /// Returns the current state of the generation.
  /// - Throws: if somebody has deleted it, or if it is in none of these states.
  private func expect(_ generation: Generation, _ states: Set<Generation.State>) async throws -> Generation {
    guard let now = try await generations().first(where: { $0.number == generation.number }),
      states.contains(now.state)
    else {
      throw ValidationError(
        "generation \(generation.number) of \(projection.name) was discarded by another command; see \(Administration.current.program) status"
      )
    }
    return now
  }

  private func isForked(_ generation: Generation) async throws -> Bool {
    let historyID = try await stores.events.historyID()
    return try await stores.readStore.query(
      """
      select exists (
        select from projections.checkpoints
        where projection = \(projection.name) and generation = \(Int32(generation.number))
          and (history_id <> \(historyID) or mode = 'forked'))
      """
    ).value(Bool.self)
  }

  func discard(_ number: Int) async throws {
    let all = try await generations()
    if let one = all.first(where: { $0.number == number }), one.state == .kept || one.state == .building,
      !all.contains(where: {
        $0.number != number && $0.version == one.version && $0.partitioning == one.partitioning && $0.state != .past
      }), try await table.hasWorkers(one)
    {
      throw ValidationError(
        "projectors of version \(one.version) run, and would build it again at once: stop them first")
    }
    guard try await table.drop(projection.name, number) else {
      throw ValidationError("generation \(number) of \(projection.name) serves, or does not exist")
    }
    print("Removed generation \(number).")
  }

  func buildPast(_ text: String) async throws {
    try await stores.events.refuseArchived(after: .start)
    let head = try await stores.events.head()
    let until: Position
    if let position = Int64(text) {
      until = Position(position)
    } else if let time = Timestamp(text) {
      until = try await stores.events.position(at: time)
    } else {
      throw ValidationError("--until takes a position, or a time such as 2026-11-21T09:30:00Z")
    }
    guard until > .start, until <= head else {
      throw ValidationError("--until \(text) is not in the past of the write store, whose last position is \(head)")
    }
    let partitioning =
      try await generations().first { $0.state == .serving }?.partitioning ?? Partitioning.standard
    let number = try await table.add(
      projection, partitioning, historyID: try await stores.events.historyID(), state: .past, until: until,
      activates: false)
    guard let past = try await generations().first(where: { $0.number == number }) else { return }
    print("Building generation \(past.number) of \(projection.name) up to position \(until).")
    try await follow(past, total: nil)
    for name in projection.tables { print(past.table(name)) }
    print("\(Administration.current.program) rebuild \(projection.name) --discard \(past.number) removes these tables.")
  }

  /// Shows progress until every assignment has caught up.
  private func follow(_ generation: Generation, total: Int64?) async throws {
    let started = Machine.now
    let first = try await applied(generation)
    var lastLine = Machine.now - .seconds(60)
    let isTerminal = isatty(1) == 1
    while true {
      _ = try await expect(generation, [.building, .serving, .past])
      let modes = try await stores.readStore.query(
        """
        select mode, count(*) from projections.checkpoints
        where projection = \(projection.name) and generation = \(Int32(generation.number)) group by mode
        """
      ).decode((String, Int).self)
      let assignments = Dictionary(uniqueKeysWithValues: modes.map { ($0.0, $0.1) })
      let ready = (assignments["live"] ?? 0) + (assignments["done"] ?? 0)
      let done = try await applied(generation)
      let elapsed = Machine.now - started
      let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
      let rate = seconds > 0 ? Double(done - first) / seconds : 0
      var line =
        "\(done)\(total.map { " of \(max($0, done))" } ?? "") events, \(Int(rate))/s, \(ready) of \(generation.partitioning.count) partitions"
      if let total, rate > 0, done < total { line += ", \(Int(Double(total - done) / rate) + 1) s left" }
      let isReady = ready == generation.partitioning.count
      if isTerminal {
        print("\r\u{1B}[K\(line)", terminator: isReady ? "\n" : "")
      } else if isReady || Machine.now - lastLine > .seconds(5) {
        print(line)
        lastLine = Machine.now
      }
      fflush(nil)
      if isReady { return }
      if assignments["forked"] != nil || assignments["halted"] != nil {
        print("\nSome partitions have stopped. The reasons: \(Administration.current.program) status")
        throw ExitCode(1)
      }
      try await warnWithoutWorkers(generation, elapsed)
      try await Machine.sleep(for: .milliseconds(isTerminal ? 500 : 200))
    }
  }

  private func warnWithoutWorkers(_ generation: Generation, _ elapsed: Duration) async throws {
    guard elapsed > .seconds(5), elapsed < .seconds(6) else { return }
    let status = try await ProjectionStatus.read(stores.readStore, stores.writeStore, stores.events)
    let unowned = status.entries.first { $0.generation.number == generation.number }?.unowned ?? 0
    if unowned == generation.partitioning.count {
      print("\nNo projector runs version \(generation.version) of \(projection.name): start one.")
    }
  }

  private func applied(_ generation: Generation) async throws -> Int64 {
    try await stores.readStore.query(
      """
      select coalesce(sum(applied), 0)::bigint from projections.applied
      where projection = \(projection.name) and generation = \(Int32(generation.number))
      """
    ).value(Int64.self)
  }

  private func show(_ comparison: GenerationComparison, _ old: Generation, _ new: Generation) {
    var table = Table(
      "table", "rows \(old.number)", "rows \(new.number)", "checksum \(old.number)", "checksum \(new.number)", "differ",
      "moving")
    let hex = { (sum: Int64) in String(UInt64(bitPattern: sum), radix: 16) }
    for entry in comparison.tables {
      table.add(
        entry.name, "\(entry.rows.old)", "\(entry.rows.new)", hex(entry.checksums.old), hex(entry.checksums.new),
        "\(entry.differences.count)\(entry.differences.count < GenerationComparison.limit ? "" : "+")",
        "\(entry.moving)")
    }
    print(table.text)
    for entry in comparison.tables where !entry.differences.isEmpty {
      let first = entry.differences.prefix(10).joined(separator: ", ")
      print(
        "\(entry.name): \(entry.differences.count) rows differ: \(first)\(entry.differences.count > 10 ? ", …" : "")")
    }
    for entry in comparison.tables where entry.moving > 0 {
      print("\(entry.name): \(entry.moving) rows could not be compared, because they changed during every comparison")
    }
    if comparison.isEqual { print("All rows of generations \(old.number) and \(new.number) are equal.") }
  }
}
