internal import EventLoop
package import EventSourcing
internal import Failures
package import FoundationEssentials
package import Logging
internal import Machine
package import Postgres
internal import PostgresEventStore
internal import ServiceLifecycle

/// The record of all attempts at the calls of effects, in the write store. It says whether a call may be made now.
package struct EffectAttempts: Sendable {
  package enum Outcome: String, Sendable, CaseIterable {
    case succeeded, failed
    /// The last attempt has failed: the stream waits for a person.
    case gaveUp = "gave up"
    /// The process has stopped during the call.
    case interrupted
  }

  /// An attempt that has begun.
  struct Begun: Sendable {
    let number: Int
    /// Its number since the last time that a person let the call be tried again.
    let series: Int
    let at: Timestamp
    /// How long it must wait, for the sake of the rate.
    let wait: Duration
  }

  /// What has become of an attempt.
  struct End: Sendable {
    let outcome: Outcome
    var error: String?
    /// Until the next attempt; nil if there is none.
    var delay: Duration?
  }

  /// What is to be done about a call.
  enum Verdict: Sendable {
    case perform(Begun)
    case hasSucceeded
    /// Another process makes it, or has died in it; or this one makes it while its stream is parked.
    case isUnderWay(number: Int)
    /// It has failed while its stream was parked, and nobody knows that yet. `delay` is nil if it waits for a person.
    case hasFailed(error: String, delay: Duration?)
  }

  package struct Entry: Sendable {
    package let key: String
    package let number: Int
    package let startedAt: Timestamp
    package let finishedAt: Timestamp?
    /// nil while it runs, and for good if its process died.
    package let outcome: String?
    package let error: String?
  }

  /// An attempt without an outcome is over so long after its time limit, whatever became of its process.
  private static let grace = Duration.seconds(5)

  /// An attempt that is to begin.
  private struct Beginning {
    let key: String
    let event: RecordedEvent
  }

  private struct Finished {
    let key: String
    let number: Int
    let end: End
    let isNoted: Bool
  }

  /// How long an end is tried to be recorded. The last attempt may take longer.
  private static let recordingTime = Duration.seconds(5)

  private let beginnings: EffectRounds<Beginning, Verdict>
  private let ends: EffectRounds<Finished, Void>

  /// - Parameter pool: a pool on the write store whose transactions wait for the disk.
  init(of effect: String, _ limits: EffectLimits, _ pool: PostgresPool) {
    beginnings = EffectRounds { try await Self.begin($0, of: effect, limits, pool) }
    ends = EffectRounds { try await Self.finish($0, pool) }
  }

  /// Begins an attempt, unless the call has succeeded, is under way, or has failed unnoted.
  func begin(_ key: String, _ event: RecordedEvent) async throws -> Verdict {
    try await beginnings.join(Beginning(key: key, event: event))
  }

  /// Records an attempt's end, even if the task is cancelled. It tries for some seconds, since a call whose success is not on
  /// record is made again.
  /// - Parameter isNoted: whether the engine waits for this outcome. Otherwise `begin` tells it.
  func finish(_ key: String, _ number: Int, _ end: End, isNoted: Bool) async throws {
    let finished = Finished(key: key, number: number, end: end, isNoted: isNoted)
    var backoff = Backoff(first: .milliseconds(100))
    let end = Machine.now + Self.recordingTime
    while true {
      do { return try await ends.join(finished) } catch {
        guard FailureKind(error) == .retry, Machine.now < end else { throw error }
      }
      // Unstructured, so that it also waits where the task is cancelled.
      await Task { [pause = backoff.next()] in try? await Machine.sleep(for: pause) }.value
    }
  }

  /// In the order of their keys, so that two processes with the same ones do not wait for each other.
  private static func begin(
    _ all: [Beginning], of effect: String, _ limits: EffectLimits, _ pool: PostgresPool
  ) async throws -> [Verdict] {
    let rows = try await pool.query(
      """
      select a.verdict, a.number, a.series, a.starts, a.delay, a.reason
      from (
        select * from unnest(
            \(array: all.map(\.key)), \(array: all.map(\.event.stream.rawValue)),
            \(array: all.map(\.event.position.rawValue))) with ordinality u(key, stream, position, index)
        order by key collate "C") u
        cross join lateral event_store.begin_attempt(
          u.key, \(effect), u.stream, u.position, \((limits.timeLimit + grace) / .seconds(1)), \(optional: limits.rate)) a
      order by u.index
      """
    ).decode((String, Int, Int, PostgresTimestamp, Double, String).self)
    guard rows.count == all.count else {
      throw ReactionFailure(description: "begin_attempt gives no row", failureKind: .programmingError)
    }
    return rows.map { verdict, number, series, starts, delay, reason in
      switch verdict {
      case "perform":
        .perform(Begun(number: number, series: series, at: Timestamp(starts), wait: .seconds(delay)))
      case Outcome.succeeded.rawValue: .hasSucceeded
      case Outcome.failed.rawValue: .hasFailed(error: reason, delay: .seconds(delay))
      case Outcome.gaveUp.rawValue: .hasFailed(error: reason, delay: nil)
      default: .isUnderWay(number: number)
      }
    }
  }

  private static func finish(_ all: [Finished], _ pool: PostgresPool) async throws -> [Void] {
    try await pool.withConnection { connection in
      try await connection.transaction(reading: []) { _ in
        all.sorted { $0.key < $1.key }.map { finished in
          .query(
            """
            update event_store.effect_attempts
            set finished_at = clock_timestamp(), outcome = \(finished.end.outcome.rawValue),
              error = \(optional: finished.end.error),
              retry_at = clock_timestamp() + make_interval(secs => \(optional: finished.end.delay.map { $0 / .seconds(1) })),
              is_noted = \(finished.isNoted)
            where key = \(finished.key) and attempt = \(Int32(finished.number)) and outcome is null
            """)
        }
      }
    }
    return all.map { _ in }
  }

  /// Returns the attempts at the calls of one event, in order.
  /// - Parameter reaction: the effect as the engine names it: `reaction/NAME`.
  package static func all(of event: UUID, in reaction: String, _ pool: PostgresPool) async throws -> [Entry] {
    let key = EffectRunner.key(event, in: reaction, slot: "")
    // '0' follows '/', so that the range has all slots.
    return try await pool.query(
      """
      select key, attempt, started_at, finished_at, outcome, error from event_store.effect_attempts
      where key = \(key) or (key > \(key + "/") and key < \(key + "0")) order by started_at, key, attempt
      """
    ).decode((String, Int, PostgresTimestamp, PostgresTimestamp?, String?, String?).self).map {
      Entry(
        key: $0.0, number: $0.1, startedAt: Timestamp($0.2),
        finishedAt: $0.3.map { Timestamp($0) }, outcome: $0.4, error: $0.5)
    }
  }
}

/// Removes attempts whose retention has ended.
package struct AttemptForgetting: Service {
  private static let interval = Duration.seconds(600)
  private static let stepSize = 1_000

  private let pool: PostgresPool
  private let retention: Duration
  private let logger: Logger

  package init(_ pool: PostgresPool, olderThan retention: Duration, logger: Logger) {
    (self.pool, self.retention, self.logger) = (pool, retention, logger)
  }

  package func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        do { try await forget() } catch {
          logger.warning("old attempts at calls were not removed", metadata: ["error": "\(error)"])
        }
        try? await Machine.sleep(for: Self.interval)
      }
    }
  }

  package func forget() async throws {
    while !Task.isCancelled {
      let step = try await pool.query(
        """
        select event_store.forget_attempts(
          clock_timestamp() - make_interval(secs => \(retention / .seconds(1))), \(Int32(Self.stepSize)))
        """
      ).value(Int64.self)
      if step < Self.stepSize { break }
    }
  }
}
