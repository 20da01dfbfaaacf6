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
  package struct Begun: Sendable {
    let number: Int
    /// Its number since the last time that a person let the call be tried again.
    let series: Int
    let at: Timestamp
    /// How long it must wait, for the sake of the rate.
    let wait: Duration

    package init(number: Int, series: Int, at: Timestamp, wait: Duration) {
      (self.number, self.series, self.at, self.wait) = (number, series, at, wait)
    }
  }

  /// What has become of an attempt.
  package struct End: Sendable {
    package let outcome: Outcome
    package internal(set) var error: String?
    /// Until the next attempt; nil if there is none.
    package internal(set) var delay: Duration?
  }

  /// What is to be done about a call.
  package enum Verdict: Sendable {
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

  /// An attempt that is to begin.
  package struct Beginning: Sendable {
    package let key: String
    package let event: RecordedEvent
  }

  /// An attempt that has ended.
  package struct Finished: Sendable {
    package let key: String
    package let number: Int
    package let end: End
    /// Whether the engine waits for this outcome. Otherwise the next `begin` tells it.
    package let isNoted: Bool
  }

  /// How long an end is tried to be recorded. The last attempt may take longer.
  private static let recordingTime = Duration.seconds(5)

  private let beginnings: EffectRounds<Beginning, Verdict>
  private let ends: EffectRounds<Finished, Void>

  init(_ table: any AttemptTable) {
    beginnings = EffectRounds { try await table.begin($0) }
    ends = EffectRounds { ends in
      try await table.finish(ends)
      return ends.map { _ in }
    }
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
