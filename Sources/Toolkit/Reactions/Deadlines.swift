package import CommandProcessing
internal import EventLoop
package import EventSourcing
internal import FoundationEssentials
package import Logging
internal import Machine
internal import Metrics
package import Postgres
internal import ServiceLifecycle

/// Carries scheduled commands out when they are due: one process at a time does, by a lease.
///
/// A command whose deadline has passed while no reactor ran is carried out once, the oldest first.
package struct Deadlines<Store: StreamStore>: Service {
  package struct Settings: Sendable {
    /// Commands in a second, at most, so that live commands go on beside a backlog.
    package var rate = 500
    package var leaseDuration = Duration.seconds(5)

    package init() {}
  }

  /// How often it is looked for what is due.
  private static var resolution: Duration { .milliseconds(100) }
  /// How often those that wait are counted.
  private static var countInterval: Duration { .seconds(10) }
  /// Carried out in one pass, at most: they wait in the processor's queue.
  private static var mostAtOnce: Int { 500 }

  private let queue: any DeadlineQueue
  private let runner: DeadlineRunner<Store>
  private let settings: Settings
  private let logger: Logger
  private let lease: Lease
  private let outstanding = Gauge(label: "deadlines_outstanding")
  private let overdue = Gauge(label: "deadlines_overdue_seconds")
  private let waiting = Gauge(label: "deadlines_stuck")

  package init(
    _ types: [ScheduledType], _ pool: PostgresPool, _ processor: CommandProcessor<Store>,
    _ settings: Settings, logger: Logger
  ) {
    self.init(
      types, DeadlineTable(pool: pool), leases: PostgresLeases(pool, table: "event_store.leases"), processor, settings,
      logger: logger)
  }

  /// - Parameters:
  ///   - types: the commands that this build can carry out.
  ///   - leases: one process of all that share them carries the commands out.
  package init(
    _ types: [ScheduledType], _ queue: any DeadlineQueue, leases: any LeaseTable,
    _ processor: CommandProcessor<Store>, _ settings: Settings, logger: Logger
  ) {
    (self.queue, self.settings, self.logger) = (queue, settings, logger)
    runner = DeadlineRunner(types, queue, processor, logger: logger)
    // Builds with other types have other leases, so that none waits for one that does not know its commands.
    let names = Set(types.map(\.name)).sorted().joined(separator: " ")
    lease = Lease(leases, name: "deadlines/\(names)", duration: settings.leaseDuration)
  }

  package func run() async throws {
    await cancelWhenGracefulShutdown {
      var backoff = Backoff(first: .milliseconds(100))
      var nextRenewal = Machine.now
      var nextCount = Machine.now
      var allowance = 0.0
      while !Task.isCancelled {
        let start = Machine.now
        do {
          if start >= nextRenewal {
            _ = try await lease.acquire()
            nextRenewal = start + settings.leaseDuration / 3
          }
          let isHeld = await lease.isHeld
          if isHeld {
            allowance = min(allowance + Double(settings.rate) / 10, max(1, Double(settings.rate) / 10))
            if allowance >= 1 {
              allowance -= Double(try await runner.fireDue(atMost: min(Int(allowance), Self.mostAtOnce)))
            }
          }
          if start >= nextCount {
            nextCount = start + Self.countInterval
            await count(isHeld: isHeld)
          }
          backoff.reset()
          try? await Machine.sleep(until: start + Self.resolution)
        } catch {
          guard !Task.isCancelled else { break }
          logger.error("cannot read the scheduled commands; trying again", metadata: ["error": "\(error)"])
          try? await Machine.sleep(for: backoff.next())
        }
      }
    }
    await Task { await lease.release() }.value
  }

  /// - Parameter isHeld: whether this reactor carries them out; otherwise another one counts.
  private func count(isHeld: Bool) async {
    guard isHeld else {
      for gauge in [outstanding, overdue, waiting] { gauge.record(0) }
      return
    }
    do { try await countAll() } catch {
      logger.error("cannot count the scheduled commands", metadata: ["error": "\(error)"])
    }
  }

  private func countAll() async throws {
    let counts = try await queue.counts()
    outstanding.record(counts.outstanding)
    waiting.record(counts.stuck)
    overdue.record(counts.overdue)
  }
}

/// The table of scheduled commands.
struct DeadlineTable: DeadlineQueue {
  /// Counted up to here.
  private static let countLimit: Int64 = 1_000_000

  let pool: PostgresPool

  func counts() async throws -> DeadlineCounts {
    let counts = try await pool.query(
      """
      select
        (select count(*) from (select from event_store.deadlines where failed_at is null limit \(Self.countLimit)) d),
        (select count(*) from event_store.deadlines where failed_at is not null),
        greatest(0, (select extract(epoch from clock_timestamp() - min(due_at)) from event_store.deadlines
          where failed_at is null))::double precision
      """
    ).decode((Int, Int, Double).self)[0]
    return DeadlineCounts(outstanding: counts.0, stuck: counts.1, overdue: counts.2)
  }

  func due(_ names: [String], atMost limit: Int) async throws -> [DueDeadline] {
    try await pool.query(
      """
      select id, command, data::text, metadata::text, (select i.history_id from event_store.identity i)
      from event_store.deadlines
      where failed_at is null and due_at <= statement_timestamp()
        and (retry_at is null or retry_at <= statement_timestamp()) and command = any(\(array: names))
      order by due_at limit \(limit)
      """
    ).decode((UUID, String, String, String, UUID).self).map {
      DueDeadline(
        id: $0.0, command: $0.1, data: Array($0.2.utf8), metadata: Array($0.3.utf8), historyID: $0.4)
    }
  }

  func remove(_ id: UUID) async throws {
    try await pool.query("delete from event_store.deadlines where id = \(id)")
  }

  func postpone(_ id: UUID, because error: any Error) async throws {
    try await pool.query(
      """
      update event_store.deadlines set retry_at = clock_timestamp() + interval '30 seconds', error = \("\(error)")
      where id = \(id)
      """)
  }

  func fail(_ id: UUID, because error: any Error) async throws {
    try await pool.query(
      "update event_store.deadlines set failed_at = clock_timestamp(), error = \("\(error)") where id = \(id)")
  }
}
