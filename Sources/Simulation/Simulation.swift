internal import EventSourcing

/// Runs worlds, each from a seed.
package enum Simulation {
  /// What became of a world.
  package struct Result: Sendable {
    /// What is wrong; empty if nothing is.
    package let violations: [String]
    /// Of everything that happened: the same for each run of a seed.
    package let traceHash: UInt64
    package let traceLines: Int
    package let events: Int
    /// How much time passed in the world.
    package let time: Duration
    /// How many tasks ran.
    package let steps: Int
    /// What clients did, and how often.
    package let counts: [String: Int]
  }

  /// Runs a world to its end.
  /// - Parameter isPrinting: whether it prints what happens.
  package static func run(_ plan: Plan, printing isPrinting: Bool = false) -> Result {
    let world = World(plan, printing: isPrinting)
    let violations = world.run()
    return Result(
      violations: violations, traceHash: world.trace.hash, traceLines: world.trace.lines,
      events: world.writeStore.contents.events.events.count, time: world.ended, steps: Scheduler.shared.steps,
      counts: world.record.counts)
  }
}
