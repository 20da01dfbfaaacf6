package import FoundationEssentials

/// What code takes from the machine that it runs on: the time, rest and chance. The toolkit takes them from nowhere else,
/// so that a simulation can put machines of its own in place of the real one.
package enum Machine {
  /// The machine of the current task and of the tasks that it starts; nil for the real one.
  @TaskLocal package static var simulated: (any SimulatedMachine)?

  /// A clock that never goes back and does not stop while the machine sleeps. Only differences mean something.
  package static var now: ContinuousClock.Instant { simulated?.now ?? .now }

  /// The time of day, which may be set back.
  package static var date: Date { simulated?.date ?? Date() }

  /// - Throws: `CancellationError`
  package static func sleep(for duration: Duration) async throws {
    guard let simulated else { return try await Task.sleep(for: duration) }
    try await simulated.sleep(until: simulated.now + duration)
  }

  /// - Throws: `CancellationError`
  package static func sleep(until time: ContinuousClock.Instant) async throws {
    guard let simulated else { return try await Task.sleep(until: time, clock: .continuous) }
    try await simulated.sleep(until: time)
  }

  /// Random numbers.
  package static var chance: Chance { Chance(machine: simulated) }

  /// Returns a random UUID (RFC 9562, version 4).
  package static func uuid() -> UUID {
    guard let simulated else { return UUID() }
    let high = simulated.random() & 0xffff_ffff_ffff_0fff | 0x4000
    let low = simulated.random() >> 2 | 0b10 << 62
    return UUID(uuid: unsafeBitCast((high.bigEndian, low.bigEndian), to: uuid_t.self))
  }

  package struct Chance: RandomNumberGenerator {
    fileprivate let machine: (any SimulatedMachine)?

    package func next() -> UInt64 {
      if let machine { return machine.random() }
      var generator = SystemRandomNumberGenerator()
      return generator.next()
    }
  }
}

/// A machine whose time passes when a simulation lets it pass.
package protocol SimulatedMachine: Sendable {
  var now: ContinuousClock.Instant { get }
  var date: Date { get }
  /// - Throws: `CancellationError`
  func sleep(until time: ContinuousClock.Instant) async throws
  /// Calls a function at a time, which must not wait.
  func call(at time: ContinuousClock.Instant, _ action: @escaping @Sendable () -> Void)
  func random() -> UInt64
}
