internal import EventSourcing
internal import Failures
internal import FoundationEssentials
internal import Postgres
internal import PostgresEventStore

/// Where the attempts at the calls of one effect are kept.
package protocol AttemptTable: Sendable {
  /// Begins attempts: each unless its call has succeeded, is under way, or has failed unnoted.
  /// - Returns: what is to be done about each call, in order.
  func begin(_ all: [EffectAttempts.Beginning]) async throws -> [EffectAttempts.Verdict]

  /// Records the ends of attempts that have none yet.
  func finish(_ all: [EffectAttempts.Finished]) async throws
}

/// The table of attempts in the write store.
struct PostgresAttempts: AttemptTable {
  /// An attempt without an outcome is over so long after its time limit, whatever became of its process.
  private static let grace = Duration.seconds(5)

  private let effect: String
  private let limits: EffectLimits
  private let pool: PostgresPool

  /// - Parameter pool: a pool on the write store whose transactions wait for the disk.
  init(of effect: String, _ limits: EffectLimits, _ pool: PostgresPool) {
    (self.effect, self.limits, self.pool) = (effect, limits, pool)
  }

  /// In the order of their keys, so that two processes with the same ones do not wait for each other.
  func begin(_ all: [EffectAttempts.Beginning]) async throws -> [EffectAttempts.Verdict] {
    let rows = try await pool.query(
      """
      select a.verdict, a.number, a.series, a.starts, a.delay, a.reason
      from (
        select * from unnest(
            \(array: all.map(\.key)), \(array: all.map(\.event.stream.rawValue)),
            \(array: all.map(\.event.position.rawValue))) with ordinality u(key, stream, position, index)
        order by key collate "C") u
        cross join lateral event_store.begin_attempt(
          u.key, \(effect), u.stream, u.position, \((limits.timeLimit + Self.grace) / .seconds(1)), \(optional: limits.rate)) a
      order by u.index
      """
    ).decode((String, Int, Int, PostgresTimestamp, Double, String).self)
    guard rows.count == all.count else {
      throw ReactionFailure(description: "begin_attempt gives no row", failureKind: .programmingError)
    }
    return rows.map { verdict, number, series, starts, delay, reason in
      switch verdict {
      case "perform":
        .perform(.init(number: number, series: series, at: Timestamp(starts), wait: .seconds(delay)))
      case EffectAttempts.Outcome.succeeded.rawValue: .hasSucceeded
      case EffectAttempts.Outcome.failed.rawValue: .hasFailed(error: reason, delay: .seconds(delay))
      case EffectAttempts.Outcome.gaveUp.rawValue: .hasFailed(error: reason, delay: nil)
      default: .isUnderWay(number: number)
      }
    }
  }

  func finish(_ all: [EffectAttempts.Finished]) async throws {
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
  }
}
