package import CommandProcessing
internal import EventLoop
internal import EventSourcing
internal import Failures
internal import FoundationEssentials
internal import JSON
package import Logging
internal import Metrics
package import Postgres
package import PostgresEventStore
internal import ServiceLifecycle

/// Carries scheduled commands out when they are due: one process at a time does, by a lease.
///
/// A command whose deadline has passed while no reactor ran is carried out once, the oldest first.
package struct Deadlines: Service {
  package struct Settings: Sendable {
    /// Commands in a second, at most, so that live commands go on beside a backlog.
    package var rate = 500
    package var leaseDuration = Duration.seconds(5)

    package init() {}
  }

  /// How often it is looked for what is due.
  private static let resolution = Duration.milliseconds(100)
  /// How often those that wait are counted.
  private static let countInterval = Duration.seconds(10)
  /// Carried out in one pass, at most: they wait in the processor's queue.
  private static let mostAtOnce = 500
  /// Counted up to here.
  private static let countLimit: Int64 = 1_000_000

  private struct Row: Sendable {
    let id: UUID
    let command: String
    let data: [UInt8]
    let metadata: [UInt8]
  }

  private typealias Entry = (row: Row, command: any Command)

  private let pool: PostgresPool
  private let processor: CommandProcessor<PostgresEventStore>
  private let types: [String: ScheduledType]
  private let settings: Settings
  private let logger: Logger
  private let lease: Lease
  private let fired = Counter(label: "deadlines_fired_total")
  private let failed = Counter(label: "deadlines_failed_total")
  private let outstanding = Gauge(label: "deadlines_outstanding")
  private let overdue = Gauge(label: "deadlines_overdue_seconds")
  private let waiting = Gauge(label: "deadlines_stuck")

  package init(
    _ types: [ScheduledType], _ pool: PostgresPool, _ processor: CommandProcessor<PostgresEventStore>,
    _ settings: Settings, logger: Logger
  ) {
    self.types = Dictionary(types.map { ($0.name, $0) }) { $1 }
    (self.pool, self.processor, self.settings, self.logger) = (pool, processor, settings, logger)
    // Builds with other types have other leases, so that none waits for one that does not know its commands.
    let names = Set(types.map(\.name)).sorted().joined(separator: " ")
    lease = Lease(
      pool, table: "event_store.leases", name: "deadlines/\(names)", duration: settings.leaseDuration)
  }

  package func run() async throws {
    await cancelWhenGracefulShutdown {
      var backoff = Backoff(first: .milliseconds(100))
      var nextRenewal = ContinuousClock.now
      var nextCount = ContinuousClock.now
      var allowance = 0.0
      while !Task.isCancelled {
        let start = ContinuousClock.now
        do {
          if start >= nextRenewal {
            _ = try await lease.acquire()
            nextRenewal = start + settings.leaseDuration / 3
          }
          let isHeld = await lease.isHeld
          if isHeld {
            allowance = min(allowance + Double(settings.rate) / 10, max(1, Double(settings.rate) / 10))
            if allowance >= 1 { allowance -= Double(try await fireDue(atMost: min(Int(allowance), Self.mostAtOnce))) }
          }
          if start >= nextCount {
            nextCount = start + Self.countInterval
            await count(isHeld: isHeld)
          }
          backoff.reset()
          try? await Task.sleep(until: start + Self.resolution)
        } catch {
          guard !Task.isCancelled else { break }
          logger.error("deadlines cannot be looked after; trying again", metadata: ["error": "\(error)"])
          try? await Task.sleep(for: backoff.next())
        }
      }
    }
    await Task { await lease.release() }.value
  }

  /// - Returns: how many were due.
  private func fireDue(atMost limit: Int) async throws -> Int {
    let due = try await pool.query(
      """
      select id, command, data::text, metadata::text from event_store.deadlines
      where failed_at is null and due_at <= statement_timestamp()
        and (retry_at is null or retry_at <= statement_timestamp()) and command = any(\(array: Array(types.keys)))
      order by due_at limit \(limit)
      """
    ).decode((UUID, String, String, String).self).map {
      Row(id: $0.0, command: $0.1, data: Array($0.2.utf8), metadata: Array($0.3.utf8))
    }
    var rest: [Entry] = []
    for row in due {
      guard let type = types[row.command] else { continue }
      do { rest.append((row, try type.decode(row.data))) } catch { try await fail(row, error) }
    }
    while !rest.isEmpty {
      // Those that share a stream wait for the older one.
      var busy: Set<StreamID> = []
      var (now, later) = ([Entry](), [Entry]())
      for entry in rest {
        let streams = entry.command.streams.map(\.stream)
        if busy.isDisjoint(with: streams) { now.append(entry) } else { later.append(entry) }
        busy.formUnion(streams)
      }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (row, command) in now { group.addTask { try await fire(row, command) } }
        try await group.waitForAll()
      }
      rest = later
    }
    return due.count
  }

  private func fire(_ row: Row, _ command: any Command) async throws {
    let id = row.id.uuidString.lowercased()
    let request = CommandRequest(
      key: IdempotencyKey(scope: "deadline", key: id), fingerprint: row.id,
      metadata: EventMetadata(following: row.metadata, causationID: "deadline/\(id)"), firing: row.id)
    do {
      let outcome = try await processor.execute(command, request) { _ in Array("{}".utf8) }
      // The append has removed the row, unless it was made before, and its response was lost.
      if outcome.receipt == nil { try await pool.query("delete from event_store.deadlines where id = \(row.id)") }
      fired.increment()
    } catch {
      if case CommandError.conflict = error {
        return logger.warning("others are busy with a deadline's streams", metadata: ["deadline": "\(id)"])
      }
      let kind: FailureKind = error is Rejection ? .refused : FailureKind(error)
      switch kind {
      case .retry, .historyChanged: throw error
      case .refused: try await fail(row, error)
      case .programmingError:
        // The build, the schema or a right is at fault, and not this command alone: it is tried again.
        logger.critical(
          "a scheduled command cannot be carried out now; it is tried again",
          metadata: ["deadline": "\(id)", "command": "\(row.command)", "error": "\(error)"])
        try await pool.query(
          """
          update event_store.deadlines set retry_at = clock_timestamp() + interval '30 seconds', error = \("\(error)")
          where id = \(row.id)
          """)
      }
    }
  }

  private func fail(_ row: Row, _ error: any Error) async throws {
    failed.increment()
    logger.critical(
      "a scheduled command failed; it waits for a person",
      metadata: ["deadline": "\(row.id)", "command": "\(row.command)", "error": "\(error)"])
    try await pool.query(
      "update event_store.deadlines set failed_at = clock_timestamp(), error = \("\(error)") where id = \(row.id)")
  }

  /// - Parameter isHeld: whether this reactor carries them out; otherwise another one counts.
  private func count(isHeld: Bool) async {
    guard isHeld else {
      for gauge in [outstanding, overdue, waiting] { gauge.record(0) }
      return
    }
    do { try await countAll() } catch {
      logger.error("the scheduled commands that wait cannot be counted", metadata: ["error": "\(error)"])
    }
  }

  private func countAll() async throws {
    let counts = try await pool.query(
      """
      select
        (select count(*) from (select from event_store.deadlines where failed_at is null limit \(Self.countLimit)) d),
        (select count(*) from event_store.deadlines where failed_at is not null),
        coalesce((select extract(epoch from clock_timestamp() - min(due_at)) from event_store.deadlines
          where failed_at is null), 0)::double precision
      """
    ).decode((Int, Int, Double).self)
    guard let (all, stuck, late) = counts.first else { return }
    outstanding.record(all)
    waiting.record(stuck)
    overdue.record(max(0, late))
  }
}
