internal import EventSourcing
internal import FoundationEssentials
internal import Reactions

/// The attempts at the calls of effects, with the semantics of `event_store.begin_attempt`.
struct Attempts: Sendable {
  struct Attempt: Sendable {
    let startedAt: Timestamp
    var finishedAt: Timestamp?
    var outcome: EffectAttempts.Outcome?
    var error: String?
    var retryAt: Timestamp?
    var isNoted = false
  }

  /// By key, in the order of their numbers.
  private(set) var all: [String: [Attempt]] = [:]

  /// - Parameter limit: after so long, an attempt without an outcome is over.
  mutating func begin(_ key: String, overAfter limit: Duration, at now: Timestamp) -> EffectAttempts.Verdict {
    let attempts = all[key] ?? []
    if attempts.contains(where: { $0.outcome == .succeeded }) { return .hasSucceeded }
    if let last = attempts.last {
      switch last.outcome {
      case nil where last.startedAt.advanced(by: limit) > now: return .isUnderWay(number: attempts.count)
      case .failed where !last.isNoted, .gaveUp where !last.isNoted:
        all[key]![attempts.count - 1].isNoted = true
        let delay = last.retryAt.map { max(.zero, $0.duration(since: now)) } ?? .zero
        return .hasFailed(error: last.error ?? "", delay: last.outcome == .failed ? delay : nil)
      case nil, .succeeded, .failed, .gaveUp, .interrupted: break
      }
    }
    let number = attempts.count + 1
    let before = attempts.lastIndex { $0.outcome == .gaveUp }.map { $0 + 1 } ?? 0
    all[key, default: []].append(Attempt(startedAt: now))
    return .perform(.init(number: number, series: number - before, at: now, wait: .zero))
  }

  mutating func finish(_ finished: EffectAttempts.Finished, at now: Timestamp) {
    let index = finished.number - 1
    guard all[finished.key]?.indices.contains(index) == true, all[finished.key]![index].outcome == nil else { return }
    all[finished.key]![index].outcome = finished.end.outcome
    all[finished.key]![index].finishedAt = now
    all[finished.key]![index].error = finished.end.error
    all[finished.key]![index].retryAt = finished.end.delay.map { now.advanced(by: $0) }
    all[finished.key]![index].isNoted = finished.isNoted
  }
}

extension Timestamp {
  fileprivate func duration(since earlier: Timestamp) -> Duration {
    .microseconds(microsecondsSince1970 - earlier.microsecondsSince1970)
  }
}

/// The attempts of one process at the calls of one effect, over a link.
struct SimulatedAttempts: AttemptTable {
  /// As that of `PostgresAttempts`.
  private static let grace = Duration.seconds(5)

  let link: Link
  let database: Database
  let limits: EffectLimits

  func begin(_ all: [EffectAttempts.Beginning]) async throws -> [EffectAttempts.Verdict] {
    try await link.ask(isWrite: true) { [database, limits] in
      return all.map {
        database.contents.attempts.begin($0.key, overAfter: limits.timeLimit + Self.grace, at: database.now)
      }
    }
  }

  func finish(_ all: [EffectAttempts.Finished]) async throws {
    try await link.ask(isWrite: true) { [database] in
      for finished in all { database.contents.attempts.finish(finished, at: database.now) }
    }
  }
}
