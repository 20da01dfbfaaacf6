package import EventSourcing
internal import Failures
package import FoundationEssentials
package import Logging
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

  let pool: PostgresPool

  /// Returns those of the keys whose calls have succeeded.
  func succeeded(_ keys: [String]) async throws -> Set<String> {
    Set(
      try await pool.query(
        "select key from event_store.effect_attempts where key = any(\(array: keys)) and outcome = 'succeeded'"
      ).decode(String.self))
  }

  /// Begins an attempt, unless the call has succeeded, is under way, or has failed unnoted.
  func begin(_ key: String, of effect: String, _ event: RecordedEvent, _ limits: EffectLimits) async throws -> Verdict {
    let rows = try await pool.query(
      """
      select verdict, number, series, starts, delay, reason from event_store.begin_attempt(
        \(key), \(effect), \(event.stream.rawValue), \(event.position.rawValue),
        \((limits.timeLimit + Self.grace) / .seconds(1)), \(optional: limits.rate))
      """
    ).decode((String, Int, Int, PostgresTimestamp, Double, String).self)
    guard let (verdict, number, series, starts, delay, reason) = rows.first else {
      throw ReactionFailure(description: "begin_attempt gives no row", failureKind: .programmingError)
    }
    switch verdict {
    case "perform":
      return .perform(
        Begun(
          number: number, series: series,
          at: Timestamp(starts), wait: .seconds(delay)))
    case Outcome.succeeded.rawValue: return .hasSucceeded
    case Outcome.failed.rawValue: return .hasFailed(error: reason, delay: .seconds(delay))
    case Outcome.gaveUp.rawValue: return .hasFailed(error: reason, delay: nil)
    default: return .isUnderWay(number: number)
    }
  }

  /// - Parameter isNoted: whether the engine waits for this outcome. Otherwise `begin` tells it.
  func finish(_ key: String, _ number: Int, _ end: End, isNoted: Bool) async throws {
    try await pool.query(
      """
      update event_store.effect_attempts
      set finished_at = clock_timestamp(), outcome = \(end.outcome.rawValue), error = \(optional: end.error),
        retry_at = clock_timestamp() + make_interval(secs => \(optional: end.delay.map { $0 / .seconds(1) })),
        is_noted = \(isNoted)
      where key = \(key) and attempt = \(Int32(number)) and outcome is null
      """)
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
        try? await Task.sleep(for: Self.interval)
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
