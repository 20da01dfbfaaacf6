internal import FoundationEssentials
internal import Machine

/// A machine of the simulation, on which one process runs. It can be paused and killed, and its time of day can be set.
///
/// It is unchecked, since only the thread of the scheduler uses it.
final class Host: SimulatedMachine, @unchecked Sendable {
  /// When all simulations begin.
  static let epoch = Date(timeIntervalSince1970: 1_800_000_000)
  /// Only differences between instants mean something.
  private static let origin = ContinuousClock.now

  let name: String
  private let scheduler = Scheduler.shared
  private var chance: SeededChance
  /// How much its time of day differs from the right one.
  var skew = Duration.zero
  /// Until when it does nothing.
  private var pausedUntil = Duration.zero
  /// Whether its process was killed: nothing that the process does has an effect any more.
  private(set) var isDead = false

  init(_ name: String, seed: UInt64) {
    self.name = name
    chance = SeededChance(seed: seed, for: "host \(name)")
  }

  var now: ContinuousClock.Instant { Self.origin + scheduler.time }
  var date: Date { Self.epoch + (scheduler.time + skew) / .seconds(1) }
  func random() -> UInt64 { chance.next() }

  func pause(for duration: Duration) { pausedUntil = max(pausedUntil, scheduler.time + duration) }
  func kill() { isDead = true }

  /// Calls a function at a time, and not while the machine is paused.
  func call(at time: ContinuousClock.Instant, _ action: @escaping @Sendable () -> Void) {
    resume(at: time - Self.origin) { [self] in Machine.$simulated.withValue(self) { action() } }
  }

  /// Calls a function that makes tasks ready, and does nothing else, since it does not know the machine.
  func resume(at time: Duration, _ action: @escaping @Sendable () -> Void) {
    scheduler.call(at: time) { [self] in
      if pausedUntil > scheduler.time { resume(at: pausedUntil, action) } else { action() }
    }
  }

  func sleep(until time: ContinuousClock.Instant) async throws {
    let sleeper = Sleeper()
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        guard !Task.isCancelled else { return continuation.resume(throwing: CancellationError()) }
        sleeper.continuation = continuation
        resume(at: time - Self.origin) { sleeper.wake(.success(())) }
      }
    } onCancel: {
      sleeper.wake(.failure(CancellationError()))
    }
  }

  /// Sleeps even if the task is cancelled, as what waits for a server does.
  func wait(for duration: Duration) async {
    let until = scheduler.time + duration
    await withCheckedContinuation { continuation in resume(at: until) { continuation.resume() } }
  }

  /// A task that sleeps. It is unchecked for the same reason as `Host`.
  private final class Sleeper: @unchecked Sendable {
    var continuation: CheckedContinuation<Void, any Error>?

    func wake(_ result: Result<Void, any Error>) {
      defer { continuation = nil }
      continuation?.resume(with: result)
    }
  }
}
