import EventSourcing
import Postgres
import Projections
import Reactions
import Synchronization
import TestSupport

/// Tells somebody outside of each report.
struct Telling: Effect {
  struct Call: Equatable { var job: String, number: Int }

  let name = "telling"
  var limits = Telling.quick
  var recipient: Recipient

  var triggers: [EffectTrigger<Call>] {
    [
      EffectTrigger(Job.self) { event, calls in
        guard case .reported(let number) = event.event else { return }
        calls.make(Call(job: event.id, number: number))
      }
    ]
  }

  func perform(_ call: Call, _ context: EffectContext) async throws {
    try await recipient.take(call, idempotencyKey: context.key)
  }

  /// Limits with short pauses.
  static let quick = limited()

  static func limited(_ change: (inout EffectLimits) -> Void = { _ in }) -> EffectLimits {
    var limits = EffectLimits()
    (limits.firstDelay, limits.longestDelay) = (.milliseconds(20), .milliseconds(100))
    change(&limits)
    return limits
  }
}

/// The world outside: remembers what it was told.
final class Recipient: Sendable {
  private struct State {
    var calls: [(key: String, call: Telling.Call)] = []
    var running = 0
    var mostRunning = 0
  }

  private let state = Mutex(State())
  private let answering: @Sendable (Telling.Call) async throws -> Void

  /// - Parameter answering: throws where a call is to fail.
  init(_ answering: @escaping @Sendable (Telling.Call) async throws -> Void = { _ in }) { self.answering = answering }

  func take(_ call: Telling.Call, idempotencyKey key: String) async throws {
    state.withLock { state in
      state.running += 1
      state.mostRunning = max(state.mostRunning, state.running)
    }
    defer { state.withLock { $0.running -= 1 } }
    try await answering(call)
    state.withLock { $0.calls.append((key, call)) }
  }

  var running: Int { state.withLock { $0.running } }
  var mostRunning: Int { state.withLock { $0.mostRunning } }
  /// The keys of the calls that succeeded, in order.
  var keys: [String] { state.withLock { $0.calls.map(\.key) } }
  /// The numbers that it was told of a job, in order.
  func numbers(_ job: String) -> [Int] {
    state.withLock { state in state.calls.filter { $0.call.job == job }.map(\.call.number) }
  }
}

/// What a test can change while calls are made.
final class Toggle: Sendable {
  private let value = Atomic(false)
  var isOn: Bool { value.load(ordering: .acquiring) }
  func turnOn() { value.store(true, ordering: .releasing) }
}

struct Unreachable: Error {}

extension Reactors {
  /// The outcomes of all attempts at the calls for a job, in order; `none` where there is none.
  func outcomes(_ job: String) async throws -> [String] {
    try await pool.query(
      """
      select coalesce(outcome, 'none') from event_store.effect_attempts where stream = \("job-\(job)")
      order by position, key, attempt
      """
    ).decode(String.self)
  }

  func parked() async throws -> [ParkedStream] { try await ParkedStreams(pool).list() }
}
